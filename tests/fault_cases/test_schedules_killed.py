"""An orchestrator is killed at every point of a tick: each time was started once, or is, by whoever comes next."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from choros import Addresses, App, Client
from choros.roles.addresses import opened_schedules, opened_store
from choros.roles.roles import client_of, running
from choros.runtime.orchestrator.agenda import begun, moment
from choros.sources import now
from tests.fault_cases.doomed import doomed
from tests.fault_cases.ticking import NOON, ticking_app
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

DAYS = 3
"""That nobody was at work."""
POINTS = [
    pytest.param("sagas", "commit.before@1", marks=pytest.mark.nightly),
    ("sagas", "commit.after@1"),
    pytest.param("schedules", "commit.before@1", marks=pytest.mark.nightly),
    ("schedules", "commit.after@1"),
]


async def since_days_ago(app: App, addresses: Addresses) -> list[str]:
    """Its record as it stood so many days ago; gives back the keys of all that is due."""
    schedule, then = app.schedules["daily"], now() - DAYS * 86_400
    async with opened_schedules(addresses, app) as store:
        await store.commit([begun(schedule, app.name, then)])
    async with client_of(app, addresses) as client:
        await client.schedules.trigger("daily", id="t1")
        assert await client.schedules.backfill("daily", NOON, NOON + timedelta(days=1)) == 2
        shown = await client.schedules.show("daily")
    assert shown.agenda
    due = schedule.due(moment(shown.agenda.following), moment(now()))
    times = [*due, NOON, NOON + timedelta(days=1)]
    return sorted(["daily:trigger:t1", *(f"daily:{at:%Y-%m-%dT%H:%M:%SZ}" for at in times)])


async def settled(client: Client) -> None:
    """Until nothing is due any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            agenda = (await client.schedules.show("daily")).agenda
            if agenda and agenda.following > now() and not (agenda.wanted or agenda.backfills):
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("doomed_store", "failpoint"), POINTS)
async def test_each_time_is_started_once(
    store_url: str, namespace: str, tmp_path: Path, doomed_store: str, failpoint: str
) -> None:
    app, addresses = ticking_app(namespace), Addresses("memory://", store_url, "memory://")
    wanted = await since_days_ago(app, addresses)
    log = tmp_path / "ticking.log"
    with doomed("ticking", app, failpoint, log, store=store_url, doomed=doomed_store) as process:
        assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
    async with running(app, addresses) as client:
        await settled(client)
        async with opened_store(addresses, app) as store:
            records = (await store.find(limit=100)).records
        agenda = (await client.schedules.show("daily")).agenda
    assert sorted(record.key for record in records) == wanted
    assert agenda and {tick.key for tick in agenda.ticks} == set(wanted)
    assert len(agenda.ticks) == len(wanted)

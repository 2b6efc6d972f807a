"""A process is killed at every commit that takes a lock or passes it on: one saga has it, and then the next."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from choros import Addresses, Client
from choros.roles.roles import client_of, running
from tests.fault_cases.doomed import doomed
from tests.fault_cases.locking_up import Change, locking_app
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

POINTS = [
    *(("sagas", f"commit.{when}@{nth}") for nth in range(1, 7) for when in ("before", "after")),
    *(("locks", f"commit.{when}@{nth}") for nth in range(1, 4) for when in ("before", "after")),
]
"""Of the sagas: created, taken, created, queued, cancelled, taken; of the rows: taken, queued, passed on."""
EVERY_DAY = ("locks", "commit.before@3")


def _marked(store: str, point: str) -> Any:
    if (store, point) == EVERY_DAY:
        return pytest.param(store, point)
    return pytest.param(store, point, marks=pytest.mark.nightly)


@pytest.mark.parametrize(("doomed_store", "failpoint"), [_marked(*point) for point in POINTS])
async def test_neither_lost_nor_held_for_ever(
    store_url: str, namespace: str, tmp_path: Path, doomed_store: str, failpoint: str
) -> None:
    app, addresses = locking_app(namespace), Addresses("memory://", store_url, "memory://")
    async with client_of(app, addresses):
        pass  # the stores are there before anybody is killed in them
    log = tmp_path / "locking.log"
    with doomed("locking_up", app, failpoint, log, store=store_url, doomed=doomed_store) as process:
        assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
    async with running(app, addresses) as client:
        saga = app.saga("change")
        left = [await client.start(saga, Change(number=number)) for number in (1, 2, 3)]
        while left:
            holder = await the_one_that_goes_on(client, left)
            await client.cancel(holder)
            left = [one for one in left if not (await client.outcome(one)).ended]


async def the_one_that_goes_on(client: Client, sagas: list[str]) -> str:
    """Wait until one of these has the lock; no two may."""
    async with asyncio.timeout(PATIENCE):
        while True:
            seen = [(await client.show(one)).instance for one in sagas]
            [*having] = [one.saga_id for one in seen if not (one.queued or one.terminal)]
            assert len(having) <= 1, having
            if having:
                return having[0]
            if all(one.terminal for one in seen):
                return sagas[0]
            await asyncio.sleep(0.05)

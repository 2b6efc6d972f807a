"""A process is killed at the commit of an update that it asks for: it happened once, or not at all, and repeated it is
answered as it was."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from choros import Addresses, Client, UpdateRefused
from choros.roles.roles import client_of
from choros.runtime.orchestrator.history import read_history
from choros.sources import saga_id_for
from tests.fault_cases.asking import ID, asking_app
from tests.fault_cases.doomed import doomed
from tests.patience import PATIENCE
from tests.saga.delivery import ChangeAddress, Order, delivery

pytestmark = [pytest.mark.slow, pytest.mark.servers]
YES, NO = "2 Elm Road", Order().street
SAID = {YES: "updated", NO: "update_refused"}


@pytest.mark.parametrize(
    ("failpoint", "street"),
    [
        ("commit.after@2", YES),
        *(pytest.param(*case, marks=pytest.mark.long) for case in (("commit.before@2", YES), ("commit.after@2", NO))),
    ],
)
async def test_it_happened_once_or_not_at_all(
    store_url: str, namespace: str, tmp_path: Path, failpoint: str, street: str
) -> None:
    app, addresses = asking_app(namespace), Addresses("memory://", store_url, "memory://")
    log = tmp_path / "asking.log"
    with doomed("asking", app, failpoint, log, store=store_url, street=street) as process:
        assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
    saga_id = saga_id_for(f"{app.scope}.{delivery.name}", Order().order)
    async with client_of(app, addresses) as client:
        happened = failpoint == "commit.after@2"
        assert await told_of(client, saga_id) == [SAID[street]] * happened
        first, again = await asked(client, saga_id, street), await asked(client, saga_id, "3 Ash Street")
        assert (first, again) == ("yes, 0 more",) * 2 if street == YES else ("same_address",) * 2
        assert await told_of(client, saga_id) == [SAID[street]]
        shown = (await client.show(saga_id)).instance
        kept = [ChangeAddress.from_json(body).street for _, body in shown.updated]
        assert (shown.updates, kept) == (1, [YES] if street == YES else [])


async def asked(client: Client, saga_id: str, street: str) -> str:
    """Under the id that it was asked with before."""
    try:
        return f"yes, {(await client.update(saga_id, ChangeAddress(street=street), id=ID)).extra} more"
    except UpdateRefused as refused:
        return refused.code


async def told_of(client: Client, saga_id: str) -> list[str]:
    """What stands of updates in its history."""
    kinds = [event.kind for row in (await client.show(saga_id)).history for event in read_history(row.events)]
    return [kind for kind in kinds if kind in SAID.values()]

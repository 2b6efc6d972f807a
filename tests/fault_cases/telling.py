"""A client that starts a saga and tells it what it waits for: `python -m tests.fault_cases.telling`.

The environment says the rest: CHOROS_STORE, CHOROS_NAMESPACE, CHOROS_FAILPOINT, and CHOROS_WAIT, which of its waits.
"""

from __future__ import annotations

import asyncio
import os

from choros import Addresses, App, Client
from choros.roles.addresses import connected, opened_store
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_store
from tests.runtime.test_signals_off_the_wire import TWICE, loans
from tests.saga.loan import AskForLoan, Decided

ID = "decision-1"
"""Of the signal, whoever tells it."""


def telling_app(namespace: str) -> App:
    """A saga that waits twice, and a service that may tell it."""
    return loans(sagas=(TWICE,)).within(namespace)


async def run() -> None:
    """Until it is killed."""
    app, failpoint = telling_app(os.environ["CHOROS_NAMESPACE"]), Failpoint(os.environ["CHOROS_FAILPOINT"])
    addresses = Addresses("memory://", os.environ["CHOROS_STORE"], "memory://")
    async with (
        connected(addresses, app, "client") as transport,
        opened_store(addresses, app) as store,
        Client(app, store=doomed_store(store, failpoint), transport=transport) as client,
    ):
        saga_id = await client.start(TWICE, AskForLoan())
        await client.signal(saga_id, Decided(), wait=os.environ["CHOROS_WAIT"], id=ID)
        await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging("telling")
    asyncio.run(run())

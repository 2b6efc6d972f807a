"""A client that starts a saga and asks it for a change: `python -m tests.fault_cases.asking`.

The environment says the rest: CHOROS_STORE, CHOROS_NAMESPACE, CHOROS_FAILPOINT, and CHOROS_STREET, where to.
"""

from __future__ import annotations

import asyncio
import os

from choros import Addresses, App, Client, Service
from choros.roles.addresses import connected, opened_store
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_store
from tests.saga.delivery import ChangeAddress, Order, Pack, PrintLabel, Ship, TearLabel, Thank, Unpack, delivery

ID = "change-1"
"""Of the update, whoever asks."""


def asking_app(namespace: str) -> App:
    """Nobody packs anything, so the saga stays where it is."""
    store = Service("store", commands=(Pack, Unpack, PrintLabel, TearLabel, Thank))
    return App(namespace, sagas=[delivery], services=[store, Service("carrier", commands=(Ship,))])


async def run() -> None:
    """Until it is killed."""
    app, failpoint = asking_app(os.environ["CHOROS_NAMESPACE"]), Failpoint(os.environ["CHOROS_FAILPOINT"])
    addresses = Addresses("memory://", os.environ["CHOROS_STORE"], "memory://")
    async with (
        connected(addresses, app, "client") as transport,
        opened_store(addresses, app) as store,
        Client(app, store=doomed_store(store, failpoint), transport=transport) as client,
    ):
        saga_id = await client.start(delivery, Order())
        await client.update(saga_id, ChangeAddress(street=os.environ["CHOROS_STREET"]), id=ID)
        await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging("asking")
    asyncio.run(run())

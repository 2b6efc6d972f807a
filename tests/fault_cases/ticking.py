"""An orchestrator that has nothing to do but what the clock starts: `python -m tests.fault_cases.ticking`.

The environment says the rest: CHOROS_STORE, CHOROS_NAMESPACE, CHOROS_FAILPOINT, and CHOROS_DOOMED, which of its stores
passes failpoints: `sagas`, or `schedules`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from choros import Addresses, App, Schedule
from choros.roles.addresses import connected, opened_schedules, opened_store
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_store
from tests.runtime.scheduling import order_of
from tests.runtime.stage import make_app
from tests.saga import shop

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ticking_app(namespace: str) -> App:
    """The shop, with an order for every day at noon, however long ago."""
    shop_app = make_app()
    daily = Schedule(
        "daily", shop.order_saga, start=order_of, every=timedelta(days=1), anchor=NOON, missed="all",
        late=timedelta(days=100_000),
    )  # fmt: skip
    sagas, services = shop_app.sagas.values(), shop_app.services.values()
    return App(namespace, sagas=sagas, services=services, schedules=[daily])


async def run() -> None:
    """Until it is killed."""
    app = ticking_app(os.environ["CHOROS_NAMESPACE"])
    addresses = Addresses("memory://", os.environ["CHOROS_STORE"], "memory://")
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "orchestrator"))
        stores = {
            "sagas": await stack.enter_async_context(opened_store(addresses, app)),
            "schedules": await stack.enter_async_context(opened_schedules(addresses, app)),
        }
        doomed = os.environ["CHOROS_DOOMED"]
        stores[doomed] = doomed_store(stores[doomed], Failpoint(os.environ["CHOROS_FAILPOINT"]))
        sagas, schedules = stores["sagas"], stores["schedules"]
        orchestrator = Orchestrator(app, transport=transport, store=sagas, schedules=schedules)
        await orchestrator.declare()
        await orchestrator.run()


if __name__ == "__main__":
    configure_logging("ticking")
    asyncio.run(run())

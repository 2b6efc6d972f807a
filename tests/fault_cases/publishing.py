"""A service that publishes in turn, as a process: `python -m tests.fault_cases.publishing`.

The environment says the rest: CHOROS_BROKER, CHOROS_DATABASE, CHOROS_NAMESPACE and CHOROS_FAILPOINT.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from choros import Addresses, App, Fact, Service, SqliteTransaction
from choros.roles.addresses import connected, opened_database
from choros.runtime.subscriber.subscriber import Subscriber
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_database, doomed_transport

TABLE = "CREATE TABLE IF NOT EXISTS payment (order_id TEXT, part INTEGER)"


class OrderPlaced(Fact):
    order: str
    part: int


class PaymentCharged(Fact):
    order: str
    part: int


class StockHeld(Fact):
    order: str
    part: int


def payment_app(namespace: str) -> App:
    """A payment for each part of an order, and stock that is held for each payment."""
    payment, stock = Service("payment"), Service("stock")

    @payment.on(OrderPlaced, publishes=PaymentCharged)
    async def charge(placed: OrderPlaced, db: SqliteTransaction) -> PaymentCharged:
        await db.execute(TABLE)
        await db.execute("INSERT INTO payment VALUES (?, ?)", (placed.order, placed.part))
        return PaymentCharged(order=placed.order, part=placed.part)

    @stock.on(PaymentCharged, publishes=StockHeld)
    async def hold(charged: PaymentCharged, db: SqliteTransaction) -> StockHeld:
        return StockHeld(order=charged.order, part=charged.part)

    return App(namespace, services=(payment, stock, Service("audit", facts=(PaymentCharged, StockHeld))))


async def run() -> None:
    """Payment, until it is killed."""
    failpoint = Failpoint(os.environ["CHOROS_FAILPOINT"])
    app = payment_app(os.environ["CHOROS_NAMESPACE"])
    addresses = Addresses(os.environ["CHOROS_BROKER"], database=os.environ["CHOROS_DATABASE"])
    service = app.service("payment")
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "payment"))
        database = await stack.enter_async_context(opened_database(addresses, app, service))
        await transport.declare(app.topology)
        await Subscriber(
            service, namespace=app.namespace, transport=doomed_transport(transport, failpoint),
            database=doomed_database(database, failpoint),
        ).run()  # fmt: skip


if __name__ == "__main__":
    configure_logging("publishing")
    asyncio.run(run())

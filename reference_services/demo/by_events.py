"""The shop that nobody orchestrates: in this process, or as processes of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from choros import Addresses, App, FactPublisher, Service, publisher_of, running
from reference_services.analytics.service import analytics_service
from reference_services.choreographed.app import app
from reference_services.choreographed.facts import OrderPlaced
from reference_services.choreographed.flow import FRONT, choreographed_shop
from reference_services.choreographed.orders import end_of, orders_service
from reference_services.choreographed.services import inventory_service, payment_service, shipping_service
from reference_services.contracts import PlaceOrder
from reference_services.demo.mails import caught_mails
from reference_services.demo.processes import CHOROS, Processes
from reference_services.demo.shop import Placed
from reference_services.inventory.catalogue import opening_stock
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer
from reference_services.shipping.carrier.ledger import CarrierLedger
from reference_services.shipping.carriers import LocalCarrier

LOOK_EVERY = 0.05
_MODULE = "reference_services.choreographed"
_CHOROS = (sys.executable, "-m", "choros")
ROLES: dict[str, Sequence[str]] = {
    "carrier": (sys.executable, "-m", "reference_services.shipping.carrier"),
    **{
        name: (*CHOROS, _MODULE, "--role", f"subscriber:{name}")
        for name in ("payment", "inventory", "shipping", "orders", "notifications", "analytics")
    },
}


async def _ended(database: Path, order: PlaceOrder, flow_id: str) -> Placed:
    """Nobody tracks the flow, so look at what its closer has written down."""
    while True:
        if end := await asyncio.to_thread(end_of, database, order.order_id):
            return Placed(order.order_id, flow_id, *end)
        await asyncio.sleep(LOOK_EVERY)


@dataclass(frozen=True, slots=True)
class OneProcessByEvents:
    """A shop whose parts share an event loop."""

    begin: Callable[[OrderPlaced], Awaitable[str]]
    orders: Path

    async def place(self, order: PlaceOrder) -> Placed:
        """Place an order and wait until it has ended."""
        return await _ended(self.orders, order, await self.begin(OrderPlaced(order=order)))

    async def timeline(self, saga_id: str) -> Sequence[str]:
        """There is no saga whose history could be told."""
        return [f"flow {saga_id}: known to its services alone; on a broker, choros flow show follows it"]


@asynccontextmanager
async def one_process_by_events(
    folder: Path, addresses: Addresses, plugged: Sequence[Service]
) -> AsyncIterator[OneProcessByEvents]:
    """Open the shop, with subscribers plugged in, and close it when everything under way is done."""
    async with caught_mails(folder) as smtp:
        shop = _whole_shop(folder, smtp, plugged)
        flow = shop.choreography("order")
        async with running(shop, addresses) as client:
            yield OneProcessByEvents(lambda placed: client.begin(flow, placed), folder / "orders.db")


def _whole_shop(folder: Path, smtp: str, plugged: Sequence[Service]) -> App:
    return choreographed_shop(
        members=(
            payment_service(),
            inventory_service(Stock(folder / "stock.db", opening_stock)),
            shipping_service(LocalCarrier(CarrierLedger(folder / "carrier.db"))),
            orders_service(),
        ),
        listeners=(
            notifications_service(SmtpMailer.at(smtp), SentMails(folder / "mails.db")), analytics_service(), *plugged,
        ),
    )  # fmt: skip


@dataclass(slots=True)
class ProcessesByEvents(Processes):
    """A shop of processes. Orders go in as facts, by a program of this process."""

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    publisher: FactPublisher | None = None

    async def ready(self) -> None:
        """Wait until the carrier answers; what is placed before the others are there waits in their queues."""
        await self._open([f"{self.carrier_url}/livez"])
        opening = publisher_of(app.within(self.namespace), FRONT, self.addresses)
        self.publisher = await self.stack.enter_async_context(opening)

    async def place(self, order: PlaceOrder) -> Placed:
        """Place an order and wait until it has ended."""
        assert self.publisher is not None
        flow_id = await self.publisher.begin(app.choreography("order"), OrderPlaced(order=order))
        return await _ended(self.folder / "orders.db", order, flow_id)

    async def timeline(self, saga_id: str) -> Sequence[str]:
        """What became of an order, as `choros flow show` tells it."""
        asked = *_CHOROS, "flow", "show", _MODULE, saga_id, "--database", f"sqlite:///{self.folder}/{{service}}.db"
        asking = await asyncio.create_subprocess_exec(*asked, env=self.environment, stdout=asyncio.subprocess.PIPE)
        told, _ = await asking.communicate()
        return [f"flow {saga_id}", *told.decode().splitlines()]

    async def stop(self) -> None:
        """End every process that was started here, politely first."""
        await self.stack.aclose()
        await Processes.stop(self)

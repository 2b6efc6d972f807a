"""The whole shop in this process: the memory broker, SQLite, no server of any kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from choros import Addresses, App, Client, Saga, Service, running
from choros.desk.timeline import timeline
from reference_services.analytics.service import analytics_service
from reference_services.contracts import PlaceOrder
from reference_services.demo.mails import caught_mails
from reference_services.demo.shop import Placed
from reference_services.inventory.catalogue import opening_stock
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer
from reference_services.orchestrated import services as commanded
from reference_services.orchestrated.saga import orchestrated_saga
from reference_services.order.saga import order_saga
from reference_services.payment.service import CREDIT_LIMIT, payment_service
from reference_services.shipping.carrier.ledger import CarrierLedger
from reference_services.shipping.carriers import LocalCarrier
from reference_services.shipping.service import shipping_service

PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class OneProcess:
    """A shop whose parts share an event loop."""

    client: Client
    saga: Saga[PlaceOrder]

    async def place(self, order: PlaceOrder) -> Placed:
        """Place an order and wait until it has ended."""
        outcome = await self.client.run(self.saga, order, timeout=PATIENCE)
        reason = outcome.failure.code if outcome.failure else outcome.parked
        return Placed(order.order_id, outcome.saga_id, outcome.status, reason)

    async def timeline(self, saga_id: str) -> Sequence[str]:
        """What happened to an order, as lines."""
        return list(timeline(await self.client.show(saga_id), self.saga))


@asynccontextmanager
async def one_process(
    folder: Path, addresses: Addresses, plugged: Sequence[Service], *, orchestrated: bool = False
) -> AsyncIterator[OneProcess]:
    """Open the shop, with subscribers plugged in, and close it when everything under way is done."""
    saga, informed = (orchestrated_saga, _commanded) if orchestrated else (order_saga, _subscribing)
    async with caught_mails(folder) as smtp:
        shop = _whole_shop(addresses.database, saga, (*informed(addresses.database, smtp), *plugged))
        async with running(shop, addresses) as client:
            yield OneProcess(client, saga)


def _subscribing(place: str, smtp: str) -> Sequence[Service]:
    mails = SentMails(place.replace("{service}", "mails"))
    return notifications_service(SmtpMailer.at(smtp), mails), analytics_service()


def _commanded(place: str, smtp: str) -> Sequence[Service]:
    mails = SentMails(place.replace("{service}", "mails"))
    return commanded.notifications_service(SmtpMailer.at(smtp), mails), commanded.analytics_service()


def _whole_shop(place: str, saga: Saga[PlaceOrder], informed: Sequence[Service]) -> App:
    def of(service: str) -> str:
        return place.replace("{service}", service)

    return App(
        "shop",
        name="order",
        sagas=(saga,),
        services=(
            payment_service(CREDIT_LIMIT),
            inventory_service(Stock(of("stock"), opening_stock)),
            shipping_service(LocalCarrier(CarrierLedger(of("carrier")))),
            *informed,
        ),
    )

"""The workload: the reference shop's own order saga, carried out by services that only answer.

Every order has the same three lines, so every saga exchanges the same seven messages: three commands, three replies
and one fact. Where shipping refuses, they are eleven: two undos with their replies besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from choros.app.app import App
from choros.app.service import Service
from choros.errors import Refused
from choros.store.barrier import Transaction
from reference_services.contracts import (
    ChargePayment,
    InventoryReleased,
    InventoryReserved,
    OrderConfirmed,
    OrderLine,
    OrderRejected,
    OrderShipped,
    PaymentCharged,
    PaymentRefunded,
    PlaceOrder,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ShipOrder,
)
from reference_services.order.saga import order_saga

APPLICATION = "order"
PARTICIPANTS = ("payment", "inventory", "shipping")
SUBSCRIBER = "notifications"

_LINES = tuple(
    OrderLine(article=article, description=description, quantity=quantity, unit_price=price)
    for article, description, quantity, price in (
        ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 6, 255),
        ("71053", "WHITE METAL LANTERN", 6, 339),
        ("84406B", "CREAM CUPID HEARTS COAT HANGER", 8, 275),
    )
)


def order(order_id: str) -> PlaceOrder:
    """An order of this id."""
    placed_at = "2010-12-01T08:26:00Z"
    return PlaceOrder(order_id=order_id, customer="17850", country="United Kingdom", placed_at=placed_at, lines=_LINES)


def shop(namespace: str, heard: Callable[[str], object], *, refused: bool = False, subscribers: int = 1) -> App:
    """The application; `heard` is told the order of every fact that all of its subscribers have handled.

    Where the parcel is `refused`, every order is undone."""
    told = heard if subscribers == 1 else Everybody(heard, subscribers).told
    listening = [_notifications(name, told) for name in subscriber_names(subscribers)]
    return App(
        namespace,
        name=APPLICATION,
        sagas=(order_saga,),
        services=(_payment(), _inventory(), _shipping(refused), *listening),
    )


def subscriber_names(count: int) -> list[str]:
    """Of so many subscribers."""
    return [SUBSCRIBER] if count == 1 else [f"{SUBSCRIBER}-{number:03}" for number in range(count)]


class Everybody:
    """Tells when the last of so many subscribers has handled a fact."""

    def __init__(self, heard: Callable[[str], object], count: int) -> None:
        self._heard, self._count = heard, count
        self._times: Counter[str] = Counter()

    def told(self, saga: str) -> None:
        """One of them has."""
        self._times[saga] += 1
        if self._times[saga] == self._count:
            self._heard(saga)


def _payment() -> Service:
    service = Service("payment")

    @service.handles(ChargePayment)
    async def charge(command: ChargePayment, db: Transaction) -> PaymentCharged:
        return PaymentCharged(charge_id=f"charge-{command.order_id}")

    @service.handles(RefundPayment)
    async def refund(command: RefundPayment, db: Transaction) -> PaymentRefunded:
        return PaymentRefunded(amount=0)

    return service


def _inventory() -> Service:
    service = Service("inventory")

    @service.handles(ReserveInventory)
    async def reserve(command: ReserveInventory, db: Transaction) -> InventoryReserved:
        return InventoryReserved(reservation_id=f"reservation-{command.order_id}")

    @service.handles(ReleaseInventory)
    async def release(command: ReleaseInventory, db: Transaction) -> InventoryReleased:
        return InventoryReleased(pieces=0)

    return service


def _shipping(refused: bool) -> Service:
    service = Service("shipping")

    @service.handles(ShipOrder)
    async def ship(command: ShipOrder, db: Transaction) -> OrderShipped:
        if refused:
            raise Refused("address_not_served")
        return OrderShipped(carrier="parcelforce", tracking=f"tracking-{command.order_id}")

    return service


def _notifications(name: str, heard: Callable[[str], object]) -> Service:
    service = Service(name)

    @service.on(OrderConfirmed)
    async def confirmed(fact: OrderConfirmed, db: Transaction) -> None:
        heard(fact.order_id)

    @service.on(OrderRejected)
    async def rejected(fact: OrderRejected, db: Transaction) -> None:
        heard(fact.order_id)

    return service

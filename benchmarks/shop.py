"""The workload: the reference shop's own order saga, carried out by services that only answer.

Every order has the same three lines, so every saga exchanges the same seven messages: three commands, three replies
and one fact.
"""

from __future__ import annotations

from collections.abc import Callable

from choros.app.app import App
from choros.app.service import Service
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


def shop(namespace: str, heard: Callable[[str], object]) -> App:
    """The application; `heard` is told the order of every fact that the subscriber has handled."""
    services = (_payment(), _inventory(), _shipping(), _notifications(heard))
    return App(namespace, name=APPLICATION, sagas=(order_saga,), services=services)


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


def _shipping() -> Service:
    service = Service("shipping")

    @service.handles(ShipOrder)
    async def ship(command: ShipOrder, db: Transaction) -> OrderShipped:
        return OrderShipped(carrier="parcelforce", tracking=f"tracking-{command.order_id}")

    return service


def _notifications(heard: Callable[[str], object]) -> Service:
    service = Service(SUBSCRIBER)

    @service.on(OrderConfirmed)
    async def confirmed(fact: OrderConfirmed, db: Transaction) -> None:
        heard(fact.order_id)

    @service.on(OrderRejected)
    async def rejected(fact: OrderRejected, db: Transaction) -> None:
        raise AssertionError("the benchmark refuses no order")

    return service

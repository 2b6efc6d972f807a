"""The order saga: take the money, hold the stock, send the parcel. Then let everybody know."""

from __future__ import annotations

from datetime import timedelta

from choros import Failure, Pivot, RetryPolicy, Saga, Step
from reference_services.contracts import (
    ArticlePieces,
    ChargePayment,
    InventoryReserved,
    OrderConfirmed,
    OrderRejected,
    OrderShipped,
    PlaceOrder,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ShipOrder,
)


def charge_payment(order: PlaceOrder) -> ChargePayment:
    """First the money."""
    return ChargePayment(order_id=order.order_id, customer=order.customer, amount=order.total)


def refund_payment(order: PlaceOrder) -> RefundPayment:
    """Undoes charge_payment."""
    return RefundPayment(order_id=order.order_id)


def reserve_inventory(order: PlaceOrder) -> ReserveInventory:
    """Then the goods."""
    lines = tuple(ArticlePieces(article=line.article, pieces=line.quantity) for line in order.lines)
    return ReserveInventory(order_id=order.order_id, lines=lines)


def release_inventory(order: PlaceOrder) -> ReleaseInventory:
    """Undoes reserve_inventory."""
    return ReleaseInventory(order_id=order.order_id)


def ship_order(order: PlaceOrder, reserved: InventoryReserved) -> ShipOrder:
    """The go/no-go: once the carrier has the parcel, the order is not undone any more."""
    return ShipOrder(order_id=order.order_id, reservation_id=reserved.reservation_id, country=order.country)


def order_confirmed(order: PlaceOrder, shipped: OrderShipped) -> OrderConfirmed:
    """Told to whoever subscribes, when all is done."""
    return OrderConfirmed(
        order_id=order.order_id,
        customer=order.customer,
        country=order.country,
        placed_at=order.placed_at,
        total=order.total,
        tracking=shipped.tracking,
    )


def order_rejected(order: PlaceOrder, failure: Failure) -> OrderRejected:
    """Told to whoever subscribes, when all is undone."""
    return OrderRejected(order_id=order.order_id, customer=order.customer, country=order.country, reason=failure.code)


order_saga = Saga(
    "order",
    version=1,
    start=PlaceOrder,
    key=lambda order: order.order_id,  # the same order starts one saga, however often it is asked for
    steps=(
        Step(charge_payment, to="payment", compensation=refund_payment),
        Step(reserve_inventory, to="inventory", compensation=release_inventory),
        Pivot(
            ship_order,
            to="shipping",
            timeout=timedelta(minutes=5),
            retry=RetryPolicy(initial=timedelta(milliseconds=500), total=timedelta(hours=1)),  # carriers have bad days
        ),
    ),
    completed=order_confirmed,  # event-driven from here on: published, tracked by nobody
    compensated=order_rejected,
)

"""The order saga that commands every service, to the last mail.

What is told at a bad end is a fact here as well: behind its undo a saga commands nothing.
"""

from __future__ import annotations

from choros import Retriable, Saga
from reference_services.contracts import OrderShipped, PlaceOrder
from reference_services.orchestrated.commands import AddRevenue, ConfirmByMail
from reference_services.order.saga import order_confirmed, order_rejected, order_saga


def confirm_by_mail(order: PlaceOrder, shipped: OrderShipped) -> ConfirmByMail:
    """Once there is no way back."""
    return ConfirmByMail(confirmed=order_confirmed(order, shipped))


def add_revenue(order: PlaceOrder, shipped: OrderShipped) -> AddRevenue:
    """Not before the order is sure."""
    return AddRevenue(confirmed=order_confirmed(order, shipped))


orchestrated_saga = Saga(
    "order",
    version=1,
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(
        *order_saga.steps,
        Retriable(confirm_by_mail, to="notifications"),
        Retriable(add_revenue, to="analytics"),
    ),
    completed=order_confirmed,  # for whoever else subscribes
    compensated=order_rejected,
)

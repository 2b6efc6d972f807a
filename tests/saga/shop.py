"""Two sagas to test with: the order saga, and a parcel's, which has every kind of node that there is."""

from datetime import timedelta

from choros.messages import Command, Done, Fact, Failure, Message, Reply
from choros.saga.nodes import Pivot, Publish, Retriable, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga


class PlaceOrder(Message):
    order_id: str
    total: int


class PaymentCharged(Reply):
    payment_id: str


class InventoryReserved(Reply):
    reservation_id: str


class OrderShipped(Reply):
    parcel: str


class ChargePayment(Command[PaymentCharged], refusals=("card_declined",)):
    order_id: str
    amount: int


class RefundPayment(Command[Done]):
    order_id: str


class ReserveInventory(Command[InventoryReserved], refusals=("sold_out",)):
    order_id: str


class ReleaseInventory(Command[Done]):
    order_id: str
    reservation_id: str = ""


class ShipOrder(Command[OrderShipped], refusals=("no_such_address",)):
    order_id: str
    reservation_id: str


class OrderConfirmed(Fact):
    order_id: str
    parcel: str


class OrderRejected(Fact):
    order_id: str
    code: str


def charge_payment(order: PlaceOrder) -> ChargePayment:
    return ChargePayment(order_id=order.order_id, amount=order.total)


def refund_payment(order: PlaceOrder) -> RefundPayment:
    return RefundPayment(order_id=order.order_id)


def reserve_inventory(order: PlaceOrder) -> ReserveInventory:
    return ReserveInventory(order_id=order.order_id)


def release_inventory(order: PlaceOrder, reserved: InventoryReserved | None) -> ReleaseInventory:
    known = reserved.reservation_id if reserved else ""
    return ReleaseInventory(order_id=order.order_id, reservation_id=known)


def ship_order(order: PlaceOrder, reserved: InventoryReserved) -> ShipOrder:
    return ShipOrder(order_id=order.order_id, reservation_id=reserved.reservation_id)


def order_confirmed(order: PlaceOrder, shipped: OrderShipped) -> OrderConfirmed:
    return OrderConfirmed(order_id=order.order_id, parcel=shipped.parcel)


def order_rejected(order: PlaceOrder, failure: Failure) -> OrderRejected:
    return OrderRejected(order_id=order.order_id, code=failure.code)


TWICE = RetryPolicy(attempts=2, jitter=0, total=timedelta(days=365))
"""The second failure, or silence, is the last."""


def make_order_saga(policy: RetryPolicy = TWICE, deadline: timedelta | None = timedelta(hours=1)) -> Saga[PlaceOrder]:
    return Saga(
        "order",
        start=PlaceOrder,
        key=lambda order: order.order_id,
        deadline=deadline,
        steps=(
            Step(charge_payment, to="payment", compensation=refund_payment, retry=policy, undo_retry=policy),
            Step(reserve_inventory, to="inventory", compensation=release_inventory, retry=policy, undo_retry=policy),
            Pivot(ship_order, to="shipping", retry=policy),
        ),
        completed=order_confirmed,
        compensated=order_rejected,
    )


order_saga = make_order_saga()
ORDER = PlaceOrder(order_id="o1", total=100)
CHARGED = PaymentCharged(payment_id="p1")
RESERVED = InventoryReserved(reservation_id="r1")
SHIPPED = OrderShipped(parcel="x1")


# --- every kind of node -----------------------------------------------------------------------------------------------


class OrderNoted(Fact):
    """Held until the pivot."""

    order_id: str


class OrderAnnounced(Fact):
    """Published early."""

    order_id: str


class OrderWithdrawn(Fact):
    """Takes the announcement back."""

    order_id: str


class ParcelOnItsWay(Fact):
    """Published after the pivot."""

    parcel: str


class PrintInvoice(Command[Done]):
    order_id: str


def order_noted(order: PlaceOrder) -> OrderNoted:
    return OrderNoted(order_id=order.order_id)


def order_announced(order: PlaceOrder) -> OrderAnnounced:
    return OrderAnnounced(order_id=order.order_id)


def order_withdrawn(order: PlaceOrder) -> OrderWithdrawn:
    return OrderWithdrawn(order_id=order.order_id)


def ship_parcel(order: PlaceOrder) -> ShipOrder:
    return ShipOrder(order_id=order.order_id, reservation_id="none")


def print_invoice(order: PlaceOrder) -> PrintInvoice:
    return PrintInvoice(order_id=order.order_id)


def parcel_on_its_way(shipped: OrderShipped) -> ParcelOnItsWay:
    return ParcelOnItsWay(parcel=shipped.parcel)


parcel_saga = Saga(
    "parcel",
    start=PlaceOrder,
    steps=(
        Step(charge_payment, to="payment", compensation=refund_payment, retry=TWICE, undo_retry=TWICE),
        Publish(order_noted),
        Publish(order_announced, early=True, retraction=order_withdrawn),
        Pivot(ship_parcel, to="shipping", retry=TWICE),
        Retriable(print_invoice, to="printing", retry=TWICE),
        Publish(parcel_on_its_way),
    ),
    completed=order_confirmed,
    compensated=order_rejected,
)

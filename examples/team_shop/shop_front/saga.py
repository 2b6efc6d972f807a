"""The order saga: `choros run shop_front.saga --role orchestrator`, and `--role starts`."""

from choros import App, Pivot, Saga, Service, Step
from shop_contracts import BookParcel, ChargePayment, OrderSent, ParcelBooked, PlaceOrder, RefundPayment


def charge_payment(order: PlaceOrder) -> ChargePayment:
    """First the money."""
    return ChargePayment(order_id=order.order_id, customer=order.customer, amount=order.amount)


def refund_payment(order: PlaceOrder) -> RefundPayment:
    """Back with it."""
    return RefundPayment(order_id=order.order_id)


def book_parcel(order: PlaceOrder) -> BookParcel:
    """Then the parcel: from here there is no way back."""
    return BookParcel(order_id=order.order_id, address=order.address)


def order_sent(order: PlaceOrder, booked: ParcelBooked) -> OrderSent:
    """Whoever wants to know."""
    return OrderSent(order_id=order.order_id, parcel_id=booked.parcel_id)


order_saga = Saga(
    "order",
    version=1,
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(Step(charge_payment, to="payment", compensation=refund_payment), Pivot(book_parcel, to="shipping")),
    completed=order_sent,
)
app = App(
    "team-shop",
    name="orders",
    sagas=[order_saga],
    services=[
        Service("payment", commands=(ChargePayment, RefundPayment)),
        Service("shipping", commands=(BookParcel,), facts=(OrderSent,)),
    ],
)

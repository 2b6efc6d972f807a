"""What the parts of the shop say to each other."""

from choros import Command, Done, Fact, Message, Reply


class PlaceOrder(Message, name="shop.order.place"):
    """What a customer asks for."""

    order_id: str
    customer: str
    amount: int
    address: str


class ChargePayment(Command[Done], name="shop.payment.charge", refusals=("no_credit",)):
    """Take the money."""

    order_id: str
    customer: str
    amount: int


class RefundPayment(Command[Done], name="shop.payment.refund"):
    """Give back what was taken."""

    order_id: str


class ParcelBooked(Reply, name="shop.shipping.parcel-booked"):
    """The carrier comes."""

    parcel_id: str


class BookParcel(Command[ParcelBooked], name="shop.shipping.book-parcel", refusals=("address_not_served",)):
    """Have the carrier come."""

    order_id: str
    address: str


class OrderSent(Fact, name="shop.order.sent"):
    """It is on its way."""

    order_id: str
    parcel_id: str

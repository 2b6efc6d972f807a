"""What the services say to each other: the messages, and who deals with which. Money is whole pence.

This is all that they share. The bounds keep every message far below the largest that a broker takes, and every
sum of money below 2**53, so that any language reads it exactly.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from choros import Command, Fact, Message, Reply, Service

MOST_LINES = 1_000
MOST_PIECES = 1_000_000
MOST_PENCE_A_PIECE = 1_000_000


OrderId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
Customer = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", max_length=60)]
Article = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,29}$")]
Description = Annotated[str, Field(max_length=200)]
Country = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=60)]
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_LONG_MONTH, _SHORT_MONTH = "(?:0[13578]|1[02])", "(?:0[469]|11)"
_DAY = (
    f"(?:{_YEAR}-(?:{_LONG_MONTH}-(?:0[1-9]|[12][0-9]|3[01])|{_SHORT_MONTH}-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
Moment = Annotated[str, Field(pattern=f"^{_DAY}T{_TIME}(?::[0-5][0-9])?(?:Z|[+-]{_TIME})?$")]
"""The pattern alone says what is taken, so that who has only the schema knows it, too."""
Identifier = Annotated[str, Field(min_length=1, max_length=200)]
Pieces = Annotated[int, Field(ge=1, le=MOST_PIECES)]
PencePerPiece = Annotated[int, Field(ge=1, le=MOST_PENCE_A_PIECE)]
Pence = Annotated[int, Field(ge=1, le=MOST_LINES * MOST_PIECES * MOST_PENCE_A_PIECE)]


# --- the order --------------------------------------------------------------------------------------------------------


class OrderLine(BaseModel):
    """So many pieces of one article, at a price a piece."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    article: Article
    description: Description = ""
    quantity: Pieces
    unit_price: PencePerPiece


class PlaceOrder(Message, name="shop.order.place"):
    """Starts the order saga."""

    order_id: OrderId
    customer: Customer
    country: Country
    placed_at: Moment
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=MOST_LINES)]

    @property
    def total(self) -> int:
        """What the order costs, in pence."""
        return sum(line.quantity * line.unit_price for line in self.lines)


class OrderConfirmed(Fact, name="shop.order.confirmed"):
    """The parcel is on its way: from here on nothing is undone."""

    order_id: OrderId
    customer: Customer
    country: Country
    placed_at: Moment
    total: Pence
    tracking: Identifier


class OrderRejected(Fact, name="shop.order.rejected"):
    """The order did not happen, and all that was done for it is undone."""

    order_id: OrderId
    customer: Customer
    country: Country
    reason: Identifier
    """The code of the failure: what a participant refused it with, or one of choros's own."""


# --- payment ----------------------------------------------------------------------------------------------------------


class PaymentCharged(Reply, name="shop.payment.charged"):
    """The customer owes the amount."""

    charge_id: Identifier


class ChargePayment(Command[PaymentCharged], name="shop.payment.charge", refusals=("credit_limit_exceeded",)):
    """Charge an order to its customer."""

    order_id: OrderId
    customer: Customer
    amount: Pence


class PaymentRefunded(Reply, name="shop.payment.refunded"):
    """What was charged for the order is reversed."""

    amount: Annotated[int, Field(ge=0)]


class RefundPayment(Command[PaymentRefunded], name="shop.payment.refund"):
    """Undoes ChargePayment."""

    order_id: OrderId


# --- inventory --------------------------------------------------------------------------------------------------------


class ArticlePieces(BaseModel):
    """So many pieces of one article."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    article: Article
    pieces: Pieces


class InventoryReserved(Reply, name="shop.inventory.reserved"):
    """Every line of the order is held."""

    reservation_id: Identifier


class ReserveInventory(Command[InventoryReserved], name="shop.inventory.reserve", refusals=("out_of_stock",)):
    """Hold every line of an order, or none."""

    order_id: OrderId
    lines: Annotated[tuple[ArticlePieces, ...], Field(min_length=1, max_length=MOST_LINES)]


class InventoryReleased(Reply, name="shop.inventory.released"):
    """Nothing is held for the order any more."""

    pieces: Annotated[int, Field(ge=0)]


class ReleaseInventory(Command[InventoryReleased], name="shop.inventory.release"):
    """Undoes ReserveInventory."""

    order_id: OrderId


# --- shipping ---------------------------------------------------------------------------------------------------------


class OrderShipped(Reply, name="shop.shipping.shipped"):
    """The carrier has the parcel."""

    carrier: Identifier
    tracking: Identifier


class ShipOrder(
    Command[OrderShipped], name="shop.shipping.ship", refusals=("address_not_served", "damaged_in_transit")
):
    """Hand the held pieces to a carrier."""

    order_id: OrderId
    reservation_id: Identifier
    country: Country


# --- who deals with what ----------------------------------------------------------------------------------------------
# Interfaces only: the handlers are in the services, each in a process of its own.

payment = Service("payment", commands=(ChargePayment, RefundPayment))
inventory = Service("inventory", commands=(ReserveInventory, ReleaseInventory))
shipping = Service("shipping", commands=(ShipOrder,))
notifications = Service("notifications", facts=(OrderConfirmed, OrderRejected))
analytics = Service("analytics", facts=(OrderConfirmed,))

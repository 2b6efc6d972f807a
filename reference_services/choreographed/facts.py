"""What the services say to each other where nobody commands them. How an order ends is said as always: OrderConfirmed
or OrderRejected of `reference_services.contracts`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from choros import Fact
from reference_services.contracts import Country, Customer, Identifier, OrderId, PlaceOrder

NoneOrMore = Annotated[int, Field(ge=0)]


class OrderPlaced(Fact, name="shop.order.placed"):
    """A customer wants this. Begins the flow."""

    order: PlaceOrder


class PaymentTaken(Fact, name="shop.payment.taken"):
    """The customer owes the amount."""

    order_id: OrderId
    charge_id: Identifier


class StockHeld(Fact, name="shop.inventory.held"):
    """Every line of the order is held."""

    order_id: OrderId
    reservation_id: Identifier


class ParcelSent(Fact, name="shop.shipping.sent"):
    """The carrier has the parcel."""

    order_id: OrderId
    tracking: Identifier


class Problem(Fact, name="shop.problem"):
    """A definite no: whoever says it has done nothing."""

    order_id: OrderId
    customer: Customer
    country: Country
    reason: Identifier


class PaymentDeclined(Problem, name="shop.payment.declined"):
    """The customer may not owe so much."""


class StockShort(Problem, name="shop.inventory.short"):
    """Not every line can be held, so none is."""


class ParcelRefused(Problem, name="shop.shipping.refused"):
    """No carrier takes the parcel."""


class OrderFailing(Problem, name="shop.order.failing"):
    """The order will not be: whoever has done something about it takes that back."""


class PaymentReturned(Fact, name="shop.payment.returned"):
    """Nothing is owed for the order any more, if ever anything was."""

    order_id: OrderId
    amount: NoneOrMore


class StockReturned(Fact, name="shop.inventory.returned"):
    """Nothing is held for the order any more, if ever anything was."""

    order_id: OrderId
    pieces: NoneOrMore


def problem_of(order: PlaceOrder, reason: str) -> dict[str, str]:
    """The fields of a problem with this order."""
    return {"order_id": order.order_id, "customer": order.customer, "country": order.country, "reason": reason}

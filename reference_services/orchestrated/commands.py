"""What is commanded here, and a fact elsewhere."""

from __future__ import annotations

from choros import Command, Done
from reference_services.contracts import OrderConfirmed


class ConfirmByMail(Command[Done], name="shop.notifications.confirm"):
    """Tell the customer that the parcel is on its way."""

    confirmed: OrderConfirmed


class AddRevenue(Command[Done], name="shop.analytics.add"):
    """Count the order in."""

    confirmed: OrderConfirmed

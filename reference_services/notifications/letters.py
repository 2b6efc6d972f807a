"""What the mails say."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime, localtime

from reference_services.contracts import OrderConfirmed, OrderRejected

SENDER = "The shop <orders@shop.example>"
_REASONS = {
    "credit_limit_exceeded": "it is above your credit limit",
    "out_of_stock": "an article is sold out",
    "address_not_served": "no carrier delivers to your address",
    "damaged_in_transit": "the parcel was damaged on its way",
}


def message_id(fact: OrderConfirmed | OrderRejected) -> str:
    """The mail's id. It follows from the fact, so a repeated mail shows as the same one."""
    return f"<{kind(fact)}.{fact.order_id}@shop.example>"


def kind(fact: OrderConfirmed | OrderRejected) -> str:
    """confirmed or rejected."""
    return "confirmed" if isinstance(fact, OrderConfirmed) else "rejected"


def letter(fact: OrderConfirmed | OrderRejected) -> EmailMessage:
    """The mail about this fact."""
    mail = EmailMessage()
    mail["From"], mail["To"] = SENDER, f"{fact.customer}@customers.example"
    mail["Subject"] = f"Your order {fact.order_id} is {kind(fact)}"
    mail["Message-ID"], mail["Date"] = message_id(fact), format_datetime(localtime())
    mail.set_content(_words(fact))
    return mail


def _words(fact: OrderConfirmed | OrderRejected) -> str:
    if isinstance(fact, OrderConfirmed):
        pounds, pence = divmod(fact.total, 100)
        return f"Your parcel is on its way: {fact.tracking}.\nWe have charged {pounds}.{pence:02} GBP.\n"
    reason = _REASONS.get(fact.reason, "something went wrong on our side")
    return f"We cannot carry out your order: {reason}.\nNothing is charged.\n"

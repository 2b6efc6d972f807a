"""All of it as one application, of which each process runs one role:
`choros run reference_services.orchestrated --role service:analytics`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from choros import App, Service
from reference_services.inventory.catalogue import opening_stock
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.notifications.smtp import SmtpMailer
from reference_services.orchestrated.saga import orchestrated_saga
from reference_services.orchestrated.services import analytics_service, notifications_service
from reference_services.payment.app import credit_limit
from reference_services.payment.service import payment_service
from reference_services.shipping.app import CARRIER_URL
from reference_services.shipping.carriers import HttpCarrier
from reference_services.shipping.service import shipping_service
from reference_services.tables import beside


def orchestrated_shop(services: Iterable[Service]) -> App:
    """The application of the saga and of these services."""
    return App("shop", name="order", sagas=(orchestrated_saga,), services=services)


_mailer = SmtpMailer.at(os.environ.get("CHOROS_SMTP", "smtp://127.0.0.1:1025"))
app = orchestrated_shop(
    (
        payment_service(credit_limit()),
        inventory_service(Stock(beside("CHOROS_STOCK", "stock"), opening_stock)),
        shipping_service(HttpCarrier(os.environ.get("CHOROS_CARRIER_URL", CARRIER_URL))),
        notifications_service(_mailer, SentMails(beside("CHOROS_MAILS", "mails"))),
        analytics_service(),
    )
)

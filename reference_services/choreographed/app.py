"""All of it as one application, of which each process runs one role:
`choros run reference_services.choreographed --role subscriber:payment`."""

from __future__ import annotations

import os

from reference_services.analytics.service import analytics_service
from reference_services.choreographed.flow import choreographed_shop
from reference_services.choreographed.orders import orders_service
from reference_services.choreographed.services import inventory_service, payment_service, shipping_service
from reference_services.inventory.catalogue import opening_stock
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer
from reference_services.payment.app import credit_limit
from reference_services.shipping.app import CARRIER_URL
from reference_services.shipping.carriers import HttpCarrier
from reference_services.tables import beside

_mailer = SmtpMailer.at(os.environ.get("CHOROS_SMTP", "smtp://127.0.0.1:1025"))
app = choreographed_shop(
    members=(
        payment_service(credit_limit()),
        inventory_service(Stock(beside("CHOROS_STOCK", "stock"), opening_stock)),
        shipping_service(HttpCarrier(os.environ.get("CHOROS_CARRIER_URL", CARRIER_URL))),
        orders_service(),
    ),
    listeners=(notifications_service(_mailer, SentMails(beside("CHOROS_MAILS", "mails"))), analytics_service()),
)

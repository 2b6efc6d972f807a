"""The notifications service as an application of its own: `choros run reference_services.notifications`."""

from __future__ import annotations

import os

from choros import App
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer
from reference_services.tables import beside

_mailer = SmtpMailer.at(os.environ.get("CHOROS_SMTP", "smtp://127.0.0.1:1025"))
app = App("shop", services=(notifications_service(_mailer, SentMails(beside("CHOROS_MAILS", "mails"))),))

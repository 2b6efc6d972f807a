"""The notifications service as an application of its own: `choros run reference_services.notifications`."""

from __future__ import annotations

import os
from pathlib import Path

from choros import App
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer


def mails_path() -> Path:
    """CHOROS_MAILS, or else mails.db beside the service's database."""
    if chosen := os.environ.get("CHOROS_MAILS"):
        return Path(chosen)
    database = os.environ.get("CHOROS_DATABASE", "")
    folder = Path(database.removeprefix("sqlite:///")).parent if database.startswith("sqlite:///") else Path(".choros")
    return folder / "mails.db"


_mailer = SmtpMailer.at(os.environ.get("CHOROS_SMTP", "smtp://127.0.0.1:1025"))
app = App("shop", services=(notifications_service(_mailer, SentMails(mails_path())),))

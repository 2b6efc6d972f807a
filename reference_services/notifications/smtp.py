"""The way to the mail server."""

from __future__ import annotations

import asyncio
import smtplib
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import urlsplit

from choros import UsageError

TIMEOUT_SECONDS = 10


class Mailer(Protocol):
    """Sends mails."""

    async def send(self, mail: EmailMessage) -> None:
        """Hand the mail to a server; raises whatever went wrong."""
        ...


class SmtpMailer:
    """A server that speaks SMTP."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    @staticmethod
    def at(address: str) -> SmtpMailer:
        """From host:port or smtp://host:port; raises UsageError."""
        try:
            parts = urlsplit(address if "://" in address else f"smtp://{address}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or port is None:
            raise UsageError("CHOROS_SMTP is no address of a mail server.", "CHOROS_SMTP=smtp://127.0.0.1:1025.")
        return SmtpMailer(host, port)

    async def send(self, mail: EmailMessage) -> None:
        await asyncio.to_thread(self._send, mail)

    def _send(self, mail: EmailMessage) -> None:
        with smtplib.SMTP(self._host, self._port, local_hostname="localhost", timeout=TIMEOUT_SECONDS) as server:
            server.send_message(mail)

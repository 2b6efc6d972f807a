"""Notifications and analytics: what happens to facts."""

from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from choros.errors import UsageError
from reference_services.analytics.service import analytics_service
from reference_services.notifications.letters import letter, message_id
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer
from tests.reference.conftest import Desk, confirmed, order, rejected


class Outbox:
    """A mailer that keeps what it sends, and may fail first."""

    def __init__(self, failures: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.failures = failures

    async def send(self, mail: EmailMessage) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError
        self.mails.append(mail)


async def test_revenue_by_day_and_country(desk: Desk) -> None:
    service = analytics_service()
    await desk.prepare(service)
    await desk.give(service, confirmed(order("1", ("A", 2, 150))))
    await desk.give(service, confirmed(order("2", ("A", 1, 50))))
    later = confirmed(order("3")).model_copy(update={"placed_at": "2010-12-02T00:00:00"})
    await desk.give(service, later)
    assert await desk.rows("SELECT * FROM revenue ORDER BY day") == [
        ("2010-12-01", "France", 2, 350),
        ("2010-12-02", "France", 1, 300),
    ]


async def test_one_mail_for_a_fact_however_often_it_comes(desk: Desk, tmp_path: Path) -> None:
    mailer = Outbox()
    service = notifications_service(mailer, SentMails(tmp_path / "mails.db"))
    for _ in range(3):
        await desk.give(service, confirmed(order("1")))
    await desk.give(service, rejected(order("2")))
    assert [mail["Message-ID"] for mail in mailer.mails] == [
        "<confirmed.1@shop.example>",
        "<rejected.2@shop.example>",
    ]


async def test_a_mail_that_was_not_sent_is_not_noted(desk: Desk, tmp_path: Path) -> None:
    mailer, sent = Outbox(failures=1), SentMails(tmp_path / "mails.db")
    service = notifications_service(mailer, sent)
    with pytest.raises(ConnectionRefusedError):
        await desk.give(service, confirmed(order("1")))
    assert not sent.has(message_id(confirmed(order("1"))))
    await desk.give(service, confirmed(order("1")))
    assert len(mailer.mails) == 1


def test_the_letter_says_what_happened() -> None:
    good = letter(confirmed(order("1", ("A", 2, 150), customer="17850")))
    assert good["To"] == "17850@customers.example"
    assert "3.00 GBP" in good.get_content()
    assert "damaged" in letter(rejected(order("1"), "damaged_in_transit")).get_content()
    assert "our side" in letter(rejected(order("1"), "in_doubt")).get_content()


class Catcher:
    """The handler of a mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.subjects.append(str(message_from_bytes(content)["Subject"]))
        return "250 OK"


async def test_a_mail_reaches_a_real_server(free_port: int) -> None:
    catcher = Catcher()
    server = Controller(catcher, hostname="127.0.0.1", port=free_port)
    server.start()
    try:
        await SmtpMailer.at(f"127.0.0.1:{free_port}").send(letter(confirmed(order("1"))))
    finally:
        server.stop()
    assert catcher.subjects == ["Your order 1 is confirmed"]


@pytest.mark.parametrize("address", ["", "mail", "smtp://mail", "mail:port", "mail:99999"])
def test_an_address_that_means_nothing_is_a_sentence(address: str) -> None:
    with pytest.raises(UsageError, match="CHOROS_SMTP"):
        SmtpMailer.at(address)

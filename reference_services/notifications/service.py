"""The notifications service: one mail for each order that was confirmed or rejected."""

from __future__ import annotations

import asyncio

from choros import Service
from reference_services.contracts import OrderConfirmed, OrderRejected
from reference_services.notifications.letters import kind, letter, message_id
from reference_services.notifications.mails import SentMails
from reference_services.notifications.smtp import Mailer


def notifications_service(mailer: Mailer, sent: SentMails) -> Service:
    """The service with its handler.

    No transaction reaches into a mail server, so this is *at least once*: a crash between sending and noting it
    sends the mail again, under the same Message-ID.
    """
    service = Service("notifications")

    @service.on(OrderConfirmed, OrderRejected)
    async def tell(fact: OrderConfirmed | OrderRejected) -> None:
        await tell_customer(mailer, sent, fact)

    return service


async def tell_customer(mailer: Mailer, sent: SentMails, fact: OrderConfirmed | OrderRejected) -> None:
    """Send the mail about this fact, unless it has gone before."""
    if await asyncio.to_thread(sent.has, message_id(fact)):
        return
    await mailer.send(letter(fact))
    await asyncio.to_thread(sent.add, message_id(fact), fact.order_id, kind(fact))

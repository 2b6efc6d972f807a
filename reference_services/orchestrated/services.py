"""Notifications and analytics by command, on the same mails and tables as where they subscribe."""

from __future__ import annotations

import asyncio

from choros import Call, Done, Service, Transaction
from reference_services.analytics.service import add_revenue, make_table
from reference_services.contracts import OrderRejected
from reference_services.notifications.letters import message_id
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import tell_customer
from reference_services.notifications.smtp import Mailer
from reference_services.orchestrated.commands import AddRevenue, ConfirmByMail


def notifications_service(mailer: Mailer, sent: SentMails) -> Service:
    """Confirms by command, and hears of rejections. A mail server is outside of every transaction: so it is asked
    whether the mail has gone, and a crash between sending and noting it sends the same mail again."""
    service = Service("notifications")

    async def gone(command: ConfirmByMail, call: Call) -> Done | None:
        return Done() if await asyncio.to_thread(sent.has, message_id(command.confirmed)) else None

    @service.provider(ConfirmByMail, ask=gone)
    async def confirm(command: ConfirmByMail, call: Call) -> Done:
        await tell_customer(mailer, sent, command.confirmed)
        return Done()

    @service.on(OrderRejected)
    async def reject(fact: OrderRejected) -> None:
        await tell_customer(mailer, sent, fact)

    return service


def analytics_service() -> Service:
    """Counts in the transaction of its barrier."""
    service = Service("analytics")
    service.prepares(make_table)

    @service.handles(AddRevenue)
    async def add(command: AddRevenue, db: Transaction) -> Done:
        await add_revenue(command.confirmed, db)
        return Done()

    return service

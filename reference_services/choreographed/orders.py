"""The orders service: it closes each order's flow, and keeps how it ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from choros import Service, SqliteTransaction, all_of
from reference_services.choreographed.facts import (
    OrderFailing,
    OrderPlaced,
    ParcelRefused,
    ParcelSent,
    PaymentDeclined,
    PaymentReturned,
    StockReturned,
    StockShort,
)
from reference_services.contracts import OrderConfirmed, OrderRejected

_TABLE = "CREATE TABLE IF NOT EXISTS ended (order_id TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL)"
_ENDED = "INSERT INTO ended VALUES (?, ?, ?)"


def orders_service() -> Service:
    """The service with its reactions: the first end that it commits is the one."""
    service = Service("orders")

    @service.prepares
    async def create_table(db: SqliteTransaction) -> None:
        await db.execute(_TABLE)

    @service.on(all_of(OrderPlaced, ParcelSent), publishes=OrderConfirmed)
    async def confirm(placed: OrderPlaced, sent: ParcelSent, db: SqliteTransaction) -> OrderConfirmed:
        order = placed.order
        await db.execute(_ENDED, (order.order_id, "completed", ""))
        return OrderConfirmed(
            order_id=order.order_id, customer=order.customer, country=order.country, placed_at=order.placed_at,
            total=order.total, tracking=sent.tracking,
        )  # fmt: skip

    @service.on(PaymentDeclined, StockShort, ParcelRefused, publishes=OrderFailing)
    async def turn(problem: PaymentDeclined | StockShort | ParcelRefused, db: SqliteTransaction) -> OrderFailing:
        return OrderFailing(**problem.model_dump())

    @service.on(all_of(OrderFailing, PaymentReturned, StockReturned), publishes=OrderRejected)
    async def reject(failing: OrderFailing, db: SqliteTransaction) -> OrderRejected:
        await db.execute(_ENDED, (failing.order_id, "compensated", failing.reason))
        return OrderRejected(**failing.model_dump())

    return service


def end_of(database: Path, order_id: str) -> tuple[str, str] | None:
    """How this order has ended, and why; None as long as it has not."""
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as book:
        try:
            found = book.execute("SELECT status, reason FROM ended WHERE order_id = ?", (order_id,)).fetchone()
        except sqlite3.OperationalError:  # the service has not begun yet
            return None
    return (str(found[0]), str(found[1])) if found else None

"""The analytics service: adds up what was sold, by day and country."""

from __future__ import annotations

from choros import Service, SqliteTransaction
from reference_services.contracts import OrderConfirmed

_TABLE = """
CREATE TABLE IF NOT EXISTS revenue (
    day TEXT NOT NULL,
    country TEXT NOT NULL,
    orders INTEGER NOT NULL,
    amount_pence INTEGER NOT NULL,
    PRIMARY KEY (day, country)
) STRICT
"""
_ADD = """
INSERT INTO revenue VALUES (?, ?, 1, ?)
ON CONFLICT DO UPDATE SET orders = orders + 1, amount_pence = amount_pence + excluded.amount_pence
"""


def analytics_service() -> Service:
    """The service with its handler. It writes through the subscriber's transaction, so a repeated fact counts once."""
    service = Service("analytics")

    @service.prepares
    async def create_table(db: SqliteTransaction) -> None:
        await db.execute(_TABLE)

    @service.on(OrderConfirmed)
    async def add_revenue(fact: OrderConfirmed, db: SqliteTransaction) -> None:
        day = fact.placed_at[:10]
        await db.execute(_ADD, (day, fact.country, fact.total))

    return service

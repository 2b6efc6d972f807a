"""The analytics service: adds up what was sold, by day and country."""

from __future__ import annotations

from choros import Service, Transaction
from reference_services.contracts import OrderConfirmed
from reference_services.sql import Schema, make_tables, sql

_TABLE = """CREATE TABLE IF NOT EXISTS revenue (
    day TEXT NOT NULL,
    country TEXT NOT NULL,
    orders INTEGER NOT NULL,
    amount_pence INTEGER NOT NULL,
    PRIMARY KEY (day, country)
) STRICT"""
_ADD = """INSERT INTO revenue VALUES (?, ?, 1, ?)
ON CONFLICT (day, country) DO UPDATE SET
    orders = revenue.orders + 1, amount_pence = revenue.amount_pence + excluded.amount_pence"""


def analytics_service() -> Service:
    """The service with its handler. It writes through the subscriber's transaction, so a repeated fact counts once."""
    service = Service("analytics")

    service.prepares(make_table)
    service.on(OrderConfirmed)(add_revenue)
    return service


async def make_table(db: Transaction) -> None:
    """The service's own."""
    await make_tables(db, Schema([_TABLE]))


async def add_revenue(fact: OrderConfirmed, db: Transaction) -> None:
    """Count this order in."""
    day = fact.placed_at[:10]
    await sql(db).execute(_ADD, (day, fact.country, fact.total))

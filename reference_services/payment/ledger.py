"""The double-entry ledger: every entry takes from one account what it gives to another, so all of them sum to zero.

Entries are only ever added. A refund is a second entry, the reverse of its charge.
"""

from __future__ import annotations

from datetime import UTC, datetime

from choros import Transaction
from reference_services.sql import Schema, Sql, make_tables, sql

_SCHEMA = Schema(final=("entry",), tables=(
    """CREATE TABLE IF NOT EXISTS account (
        name TEXT PRIMARY KEY,
        balance_pence INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS entry (
        id INTEGER PRIMARY KEY,
        order_id TEXT NOT NULL,
        debit TEXT NOT NULL REFERENCES account (name),
        credit TEXT NOT NULL REFERENCES account (name),
        amount_pence INTEGER NOT NULL CHECK (amount_pence > 0),
        at TEXT NOT NULL,
        key TEXT NOT NULL UNIQUE,
        CHECK (debit <> credit)
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS charge (
        id TEXT PRIMARY KEY,
        order_id TEXT NOT NULL,
        customer TEXT NOT NULL,
        amount_pence INTEGER NOT NULL,
        entry INTEGER NOT NULL REFERENCES entry (id)
    ) STRICT""",
    """CREATE INDEX IF NOT EXISTS charge_by_order ON charge (order_id)""",
    """CREATE TABLE IF NOT EXISTS refund (
        charge TEXT PRIMARY KEY REFERENCES charge (id),
        entry INTEGER NOT NULL REFERENCES entry (id)
    ) STRICT""",
))  # fmt: skip
SALES = "sales"


async def create_tables(db: Transaction) -> None:
    """The ledger's tables, where they are missing."""
    await make_tables(db, _SCHEMA)


async def charge(db: Transaction, order_id: str, customer: str, pence: int, key: str) -> str:
    """The customer owes us; returns the charge's id."""
    ledger = sql(db)
    entry = await _enter(ledger, order_id, debit=_receivable(customer), credit=SALES, pence=pence, key=key)
    charge_id = f"charge-{entry}"
    await ledger.execute("INSERT INTO charge VALUES (?, ?, ?, ?, ?)", (charge_id, order_id, customer, pence, entry))
    return charge_id


async def refund(db: Transaction, order_id: str, key: str) -> int:
    """Reverse what is charged for the order and not reversed yet; returns how much that was."""
    ledger = sql(db)
    charges = await ledger.fetch(
        "SELECT id, customer, amount_pence FROM charge WHERE order_id = ? AND id NOT IN (SELECT charge FROM refund)",
        (order_id,),
    )
    for charge_id, customer, pence in charges:
        entry = await _enter(
            ledger, order_id, debit=SALES, credit=_receivable(customer), pence=pence, key=f"{key}:{charge_id}"
        )
        await ledger.execute("INSERT INTO refund VALUES (?, ?)", (charge_id, entry))
    return sum(pence for _, _, pence in charges)


def _receivable(customer: str) -> str:
    return f"receivable:{customer}"


async def _enter(ledger: Sql, order_id: str, *, debit: str, credit: str, pence: int, key: str) -> int:
    for account, change in sorted(((debit, pence), (credit, -pence))):  # in one order: nobody waits in a circle
        await ledger.execute("INSERT INTO account (name) VALUES (?) ON CONFLICT DO NOTHING", (account,))
        await ledger.execute("UPDATE account SET balance_pence = balance_pence + ? WHERE name = ?", (change, account))
    row = await ledger.fetchone(
        "INSERT INTO entry (order_id, debit, credit, amount_pence, at, key) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (order_id, debit, credit, pence, datetime.now(UTC).isoformat(), key),
    )
    assert row is not None
    return int(row[0])

"""The order book: every order that came in, and the saga that carries it out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from reference_services.contracts import PlaceOrder
from reference_services.sql import Schema
from reference_services.tables import tables_at

_TABLE = """CREATE TABLE IF NOT EXISTS placed (
    order_id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    saga_id TEXT NOT NULL
) STRICT"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An order and its saga."""

    order: PlaceOrder
    saga_id: str


class OrderBook:
    """The order book, in SQLite or PostgreSQL. Raises StoreUnreachable where that does not answer."""

    def __init__(self, place: Path | str) -> None:
        self._tables = tables_at(place, Schema([_TABLE]))

    async def add(self, entry: Entry) -> None:
        """Write an order down; it may be there already."""
        await asyncio.to_thread(self._add, entry)

    async def find(self, order_id: str) -> Entry | None:
        """The order with this id, if there is one."""
        return await asyncio.to_thread(self._find, order_id)

    def _add(self, entry: Entry) -> None:
        row = (entry.order.order_id, entry.order.to_json(), entry.saga_id)
        with self._tables.opened() as book:
            book.execute("INSERT INTO placed VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)

    def _find(self, order_id: str) -> Entry | None:
        with self._tables.opened() as book:
            row = book.execute("SELECT body, saga_id FROM placed WHERE order_id = ?", (order_id,)).fetchone()
        return Entry(PlaceOrder.from_json(row[0]), row[1]) if row else None

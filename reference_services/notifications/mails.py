"""Which mails were sent: one row for each, so that a repeated fact sends no second one."""

from __future__ import annotations

from pathlib import Path

from reference_services.sql import Schema
from reference_services.tables import tables_at

_TABLE = """CREATE TABLE IF NOT EXISTS mail (
    message_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('confirmed', 'rejected')),
    sent_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT"""


class SentMails:
    """The record of sent mails, in SQLite or PostgreSQL. Its methods block; any number of threads may call them."""

    def __init__(self, place: Path | str) -> None:
        self._tables = tables_at(place, Schema([_TABLE]))

    def has(self, message_id: str) -> bool:
        """Whether this mail was sent."""
        with self._tables.opened() as mails:
            return mails.execute("SELECT 1 FROM mail WHERE message_id = ?", (message_id,)).fetchone() is not None

    def add(self, message_id: str, order_id: str, kind: str) -> None:
        """This mail was sent."""
        row = "INSERT INTO mail (message_id, order_id, kind) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        with self._tables.opened() as mails:
            mails.execute(row, (message_id, order_id, kind))

    def close(self) -> None:
        """Let go of it."""
        self._tables.close()

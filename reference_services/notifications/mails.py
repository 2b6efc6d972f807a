"""Which mails were sent: one row for each, so that a repeated fact sends no second one."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS mail (
    message_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('confirmed', 'rejected')),
    sent_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;
"""


class SentMails:
    """The record of sent mails in a SQLite file. Its methods block; any number of threads may call them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._preparing = threading.Lock()

    def has(self, message_id: str) -> bool:
        """Whether this mail was sent."""
        with self._open() as mails:
            return mails.execute("SELECT 1 FROM mail WHERE message_id = ?", (message_id,)).fetchone() is not None

    def add(self, message_id: str, order_id: str, kind: str) -> None:
        """This mail was sent."""
        row = "INSERT INTO mail (message_id, order_id, kind) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        with self._open() as mails:
            mails.execute(row, (message_id, order_id, kind))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as mails:
            with self._preparing:  # two threads must not both be first
                mails.executescript(SCHEMA)
            yield mails

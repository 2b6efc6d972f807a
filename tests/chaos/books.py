"""The books of the services: entries are only ever added, in the transaction that holds the effect.

A book on SQLite is a table, in Redis a list for each voyage, and the harbour's provider keeps a file of its own.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from choros import Call, SqliteTransaction
from choros.store.redis.barrier import RedisTransaction

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS book (
        id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, step TEXT NOT NULL, act TEXT NOT NULL,
        key TEXT NOT NULL, attempt INTEGER NOT NULL, at REAL NOT NULL
    ) STRICT""",
    """CREATE TRIGGER IF NOT EXISTS book_is_final BEFORE UPDATE ON book
        BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END""",
    """CREATE TRIGGER IF NOT EXISTS book_is_kept BEFORE DELETE ON book
        BEGIN SELECT RAISE(ABORT, 'an entry is never removed'); END""",
)
_ENTER = "INSERT INTO book (number, step, act, key, attempt, at) VALUES (?, ?, ?, ?, ?, ?)"
_ONCE = """CREATE UNIQUE INDEX IF NOT EXISTS one_entry_a_key ON book (key)"""
REDIS_BOOKS = "book:"


async def prepare(db: SqliteTransaction) -> None:
    """Make the table where it is missing."""
    for statement in SCHEMA:
        await db.execute(statement)


async def enter(db: SqliteTransaction, number: int, step: str, act: str, call: Call) -> None:
    """An effect, in the transaction of its barrier row."""
    await db.execute(_ENTER, (number, step, act, call.key, call.attempt, time.time()))


async def enter_in_redis(db: RedisTransaction, book: str, number: int, step: str, act: str, call: Call) -> None:
    """The same in Redis."""
    entry = json.dumps((step, act, call.key, call.attempt, time.time()))
    await db.rpush(f"{REDIS_BOOKS}{book}:{number}", entry)


class Provider:
    """Somebody else's system, with a book of its own, which takes an idempotency key. Its methods block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def carry_out(self, number: int, step: str, call: Call) -> None:
        """Have the effect, once for each key."""
        with closing(self._open()) as book, book:
            row = (number, step, "do", call.key, call.attempt, time.time())
            book.execute(f"{_ENTER} ON CONFLICT (key) DO NOTHING", row)

    def knows(self, key: str) -> bool:
        """Whether it has had the effect under this key."""
        with closing(self._open()) as book:
            return book.execute("SELECT 1 FROM book WHERE key = ?", (key,)).fetchone() is not None

    def _open(self) -> sqlite3.Connection:
        book = sqlite3.connect(self._path, timeout=10)
        book.execute("PRAGMA journal_mode = WAL")
        for statement in (*SCHEMA, _ONCE):
            book.execute(statement)
        return book

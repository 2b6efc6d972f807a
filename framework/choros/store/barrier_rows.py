"""What a SQLite handler works with, and the statements on the table of the barrier."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.store.barrier import FORGETTABLE, Row, Transaction
from choros.store.sqlite_file import connect, in_transaction

Parameters = Sequence[Any] | Mapping[str, Any]
_COLUMNS = ["key", "state", "reply", "prune_at", "unsent"]
_TABLES = (
    # `unsent` numbers the replies that no broker has confirmed, in the order of their writing.
    """CREATE TABLE IF NOT EXISTS choros_barrier (
        key TEXT PRIMARY KEY, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL, unsent INTEGER) WITHOUT ROWID""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_unsent ON choros_barrier (unsent) WHERE unsent IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_forget_at ON choros_barrier (prune_at) WHERE prune_at IS NOT NULL""",
)
_READ = "SELECT key, state, reply, prune_at FROM choros_barrier WHERE key = ?"
_WRITE = """INSERT INTO choros_barrier (key, state, reply, prune_at, unsent)
    VALUES (:key, :state, :reply, :prune_at, CASE WHEN NOT :owed THEN NULL ELSE
        (SELECT coalesce(max(unsent), 0) + 1 FROM choros_barrier WHERE unsent IS NOT NULL) END)
    ON CONFLICT (key) DO UPDATE SET
        state = excluded.state, reply = excluded.reply, prune_at = excluded.prune_at, unsent = excluded.unsent"""
_UNSENT = "SELECT key, state, reply, prune_at FROM choros_barrier WHERE unsent IS NOT NULL ORDER BY unsent LIMIT ?"
_SENT = "UPDATE choros_barrier SET unsent = NULL WHERE key = ?"
_PRUNE = f"DELETE FROM choros_barrier WHERE prune_at <= ? AND state IN ({', '.join(map(repr, sorted(FORGETTABLE)))})"
_ENDS_OUR_TRANSACTION = re.compile(r"\s*(begin|commit|end|rollback|savepoint|release|attach|detach|vacuum)\b", re.I)


class SqliteTransaction(Transaction):
    """The participant's own database, inside the transaction that also holds the barrier row."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self._ended = False
        self.raised: sqlite3.Error | None = None
        """The last error of this database; a handler may raise others, of files that are its own affair."""

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; says how many rows it changed. Errors of the statement are those of sqlite3."""
        return self._run(sql, parameters).rowcount

    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._run(sql, parameters).fetchall()

    async def fetchone(self, sql: str, parameters: Parameters = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        cursor = self._run(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return row

    async def read_row(self, key: str) -> Row | None:
        """The barrier row of this key; the transaction holds the write lock, so nobody else can write it."""
        found = self._execute(_READ, (key,)).fetchone()
        return _to_row(found) if found else None

    async def write_row(self, row: Row) -> None:
        """Insert or replace a barrier row."""
        values = {"key": row.key, "state": row.state, "reply": row.reply, "prune_at": row.prune_at}
        values["owed"] = row.owes_reply
        self._execute(_WRITE, values)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        self._checked.execute("SAVEPOINT choros")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # where SQLite has rolled back all by itself
                self._connection.execute("ROLLBACK TO choros")
                self._connection.execute("RELEASE choros")
            raise
        self._connection.execute("RELEASE choros")

    def end(self) -> None:
        """From here on nothing can be written through it."""
        self._ended = True

    def _run(self, sql: str, parameters: Parameters) -> sqlite3.Cursor:
        if _ENDS_OUR_TRANSACTION.match(sql):
            raise UsageError("A handler cannot begin or end transactions.", "async with db.savepoint(): ...")
        return self._execute(sql, parameters)

    def _execute(self, sql: str, parameters: Parameters) -> sqlite3.Cursor:
        try:
            return self._checked.execute(sql, parameters)
        except sqlite3.Error as error:
            self.raised = error
            raise

    @property
    def _checked(self) -> sqlite3.Connection:
        if self._ended:
            raise UsageError("This transaction has ended.", "use it inside its handler only.")
        if not self._connection.in_transaction:  # a write now would be committed on its own
            raise StoreUnreachable(f"The database {self._path} rolled back.", "let the error before this one pass.")
        return self._connection


def opened(path: Path) -> sqlite3.Connection:
    """A connection to a file that has the table of the barrier."""
    connection = connect(path)
    try:
        in_transaction(connection, lambda: _create(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection, path: Path) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    # The file is the participant's: its user_version is not ours to use.
    columns = [column[1] for column in connection.execute("PRAGMA table_info(choros_barrier)")]
    if columns != _COLUMNS:
        raise StoreMisconfigured(
            f"The table choros_barrier in {path} has columns that this choros does not know.",
            "the version of choros that created it.",
        )


def unsent(connection: sqlite3.Connection, limit: int) -> list[Row]:
    """Rows with an unconfirmed reply, oldest first."""
    return [_to_row(found) for found in connection.execute(_UNSENT, (limit,))]


def mark_sent(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Their replies are confirmed."""
    connection.executemany(_SENT, [(key,) for key in keys])


def prune(connection: sqlite3.Connection, now: float) -> int:
    """Forget refusals and tombstones whose time has passed."""
    return connection.execute(_PRUNE, (now,)).rowcount


def _to_row(found: Sequence[Any]) -> Row:
    key, state, reply, prune_at = found
    return Row(key=key, state=state, reply=reply, prune_at=prune_at)

"""What a SQLite handler works with, and the statements on the rows of one namespace of the barrier."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from choros.errors import StoreUnreachable, UsageError
from choros.store.barrier import AT_ONCE, FORGETTABLE, LISTED, NEVER, Listed, Memory, Row, Transaction
from choros.store.local_undo import LocalUndo
from choros.store.sqlite.barrier_schema import IS_LISTED
from choros.store.sqlite.file import is_of_the_file, named
from choros.store.sqlite.said import How, Parameters, Said
from choros.store.sqlite.savepoints import Savepoints
from choros.store.standing import Standing

_ROW = "key, state, reply, prune_at, began, since"
_READ_ALL = f"SELECT {_ROW} FROM choros_barrier WHERE namespace = ? AND key IN (SELECT value FROM json_each(?))"
_READ = f"SELECT {_ROW} FROM choros_barrier WHERE namespace = ? AND key = ?"
_WRITE = """INSERT INTO choros_barrier (namespace, key, state, reply, prune_at, began, since, memory, unsent)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, CASE WHEN NOT ?9 THEN NULL ELSE
        (SELECT coalesce(max(unsent), 0) + 1 FROM choros_barrier WHERE namespace = ?1 AND unsent IS NOT NULL) END)
    ON CONFLICT (namespace, key) DO UPDATE SET
        state = excluded.state, reply = excluded.reply, prune_at = excluded.prune_at, began = excluded.began,
        since = excluded.since, memory = excluded.memory, unsent = excluded.unsent"""
_UNSENT = f"""SELECT {_ROW} FROM choros_barrier
    WHERE namespace = ? AND unsent IS NOT NULL ORDER BY unsent LIMIT ?"""
_LISTED = {
    state: f"""SELECT {_ROW} FROM choros_barrier INDEXED BY choros_barrier_{state}
    WHERE namespace = ? AND {IS_LISTED[state]} ORDER BY since, rowid LIMIT ?"""
    for state in LISTED
}
_REMEMBERED = f"""SELECT {_ROW} FROM choros_barrier INDEXED BY choros_barrier_aging
    WHERE namespace = ? AND memory = ? AND since >= ? AND (since > ? OR key > ?) ORDER BY since, key LIMIT ?"""
_SENT = "UPDATE choros_barrier SET unsent = NULL WHERE namespace = ? AND key = ?"
_PASSED = f"""SELECT key FROM choros_barrier
    WHERE namespace = ? AND prune_at <= ? AND state IN ({", ".join(map(repr, sorted(FORGETTABLE)))}) LIMIT {AT_ONCE}"""
_OLD = f"""SELECT key, began FROM choros_barrier
    WHERE namespace = ? AND memory = ? AND since < ? AND unsent IS NULL ORDER BY since LIMIT {AT_ONCE}"""
_DELETE = "DELETE FROM choros_barrier WHERE namespace = ? AND key = ?"
_HORIZON = "SELECT at FROM choros_horizon WHERE namespace = ? AND memory = ?"
_MOVE = """INSERT INTO choros_horizon (namespace, memory, at) VALUES (?, ?, ?)
    ON CONFLICT (namespace, memory) DO UPDATE SET at = max(at, excluded.at)"""
_ENDS_OUR_TRANSACTION = re.compile(
    r"(?:[\s\ufeff]|--[^\n]*(?:\n|$)|/\*.*?\*/)*"  # what SQLite passes over
    r"(?:begin|commit|end|rollback|savepoint|release|attach|detach|vacuum)\b",
    re.I | re.S,
)


class SqliteTransaction(Transaction):
    """The participant's own database, inside the transaction that also holds the barrier row."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        namespace: str,
        horizons: dict[Memory, Any],
        *,
        movable: bool = False,
    ) -> None:
        """`horizons`: what was read of these in the SQLite transaction, in which nobody else can move one. A
        transaction that is `movable` can be moved into another one while its handler waits for something."""
        self._connection, self._path, self._namespace, self._horizons = connection, path, namespace, horizons
        self._rows: dict[str, Row] = {}
        """What was written and is not on file yet: nobody else could look there before this is committed."""
        self._savepoints = Savepoints()
        self.standing: Standing = Standing()
        self.local_undo: LocalUndo = self.standing.local_undo
        self.said: Said | None = Said(connection, self.standing, self._savepoints) if movable else None
        """What was said in it so far."""

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; says how many rows it changed. Errors of the statement are those of sqlite3."""
        changed: int = await self._statement(sql, parameters, _changed)
        return changed

    async def executemany(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement for each of these, as a handler of several facts does; says how many rows they changed."""
        changed: int = await self._statement(sql, [*rows], _changed_by_all)
        return changed

    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        found: list[tuple[Any, ...]] = await self._statement(sql, parameters, _all)
        return found

    async def fetchone(self, sql: str, parameters: Parameters = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        row: tuple[Any, ...] | None = await self._statement(sql, parameters, _first)
        return row

    async def read_row(self, key: str) -> Row | None:
        """The barrier row of this key; the transaction holds the write lock, so nobody else can write it."""
        if key in self._rows:
            self.standing.check()
            return self._rows[key]
        found = await self._say(_READ, (self._namespace, key), _first)
        return to_row(found) if found else None

    async def read_rows(self, keys: Sequence[str]) -> Sequence[Row | None]:
        """The rows of these keys, in one statement."""
        if len(keys) == 1:
            return [await self.read_row(keys[0])]
        self.standing.check()
        asked = json.dumps([key for key in keys if key not in self._rows])
        found = {row.key: row for row in map(to_row, await self._say(_READ_ALL, (self._namespace, asked), _all))}
        return [self._rows.get(key) or found.get(key) for key in keys]

    async def write_row(self, row: Row) -> None:
        """Insert or replace a barrier row, at the end: in the end it mostly holds something else."""
        self.standing.check()
        self._rows[row.key] = row

    async def horizon(self, memory: Memory) -> float:
        """How far rows are forgotten; nobody else can move it while this transaction holds the write lock."""
        about = self._namespace, memory
        if memory not in self._horizons:
            self._horizons[memory] = await self._say(_HORIZON, about, _first)
        elif self.said is not None:
            self.said.note(_HORIZON, about, _first, self._horizons[memory])
        found = self._horizons[memory]
        return float(found[0]) if found else NEVER

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        mark, rows = self.standing.enter(), dict(self._rows)
        self._savepoints.begin()
        try:
            yield
        except BaseException:
            if self.standing.fail(mark):
                self._rows = rows
                await self._leave(kept=False)
            raise
        if self.standing.leave(mark):
            await self._leave(kept=True)

    async def _leave(self, *, kept: bool) -> None:
        try:
            for statement in self._savepoints.end(kept=kept):
                await self._say(statement, (), _changed)
        except sqlite3.Error:  # what is left of the block's writes, nobody knows
            self.standing.spoil("was in a savepoint that SQLite could not end")

    def write_down(self) -> None:
        """Put its rows on file, all or none of them."""
        if len(self._rows) > 1:
            self._open_savepoint()
        if self._rows:
            self._ask(_WRITE, [(self._namespace, *_columns(row)) for row in self._rows.values()], _changed_by_all)

    def end(self, *, kept: bool) -> None:
        """Nothing more is said in it; whether what it wrote stays."""
        if self._connection.in_transaction and not (self.said and self.said.held):
            for statement in self._savepoints.end_all(kept=kept):
                self._connection.execute(statement)

    async def _statement(self, sql: str, parameters: Parameters | Sequence[Parameters], how: How) -> Any:
        if _ENDS_OUR_TRANSACTION.match(sql):
            raise UsageError("A handler cannot begin or end transactions.", "async with db.savepoint(): ...")
        await self._still()
        self._open_savepoint()
        return self._ask(sql, parameters, how)

    def _open_savepoint(self) -> None:
        self.standing.check()
        for statement in self._savepoints.learnt():
            self._ask(statement, (), _changed)

    async def _say(self, sql: str, parameters: Parameters, how: How) -> Any:
        await self._still()
        return self._ask(sql, parameters, how)

    async def _still(self) -> None:
        said = self.said
        if said is not None and said.held:
            await said.still()

    def _ask(self, sql: str, parameters: Parameters, how: How) -> Any:
        """One call on the connection, while the transaction stands."""
        self.standing.check()
        if not self._connection.in_transaction:  # a write now would be committed on its own
            self.standing.lose(StoreUnreachable(f"The database {self._path} rolled back.", "see the error before."))
            self.standing.check()
        said = self.said
        try:
            return how(self._connection, sql, parameters) if said is None else said.say(sql, parameters, how)
        except sqlite3.Error as error:
            if is_of_the_file(error):
                self.standing.lose(named(error, self._path))
            elif not self._connection.in_transaction:  # as by ON CONFLICT ROLLBACK
                self.standing.spoil("ran a statement that rolled the whole transaction back")
            raise


def _columns(row: Row) -> tuple[object, ...]:
    kept = row.key, row.state, row.content, row.prune_at, row.began, row.ages_from
    return (*kept, row.memory, row.owes_reply)


def _changed(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> int:
    return connection.execute(sql, parameters).rowcount


def _changed_by_all(connection: sqlite3.Connection, sql: str, rows: Sequence[Parameters]) -> int:
    return connection.executemany(sql, rows).rowcount


def _all(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> list[tuple[Any, ...]]:
    return connection.execute(sql, parameters).fetchall()


def _first(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> Any:
    cursor = connection.execute(sql, parameters)
    row = cursor.fetchone()
    cursor.close()
    return row


def unsent(connection: sqlite3.Connection, namespace: str, limit: int) -> list[Row]:
    """Rows with an unconfirmed reply, oldest first."""
    return [to_row(found) for found in connection.execute(_UNSENT, (namespace, limit))]


def listed(connection: sqlite3.Connection, namespace: str, state: Listed, limit: int) -> list[Row]:
    """Rows of this state, oldest first."""
    return [to_row(found) for found in connection.execute(_LISTED[state], (namespace, limit))]


def remembered(
    connection: sqlite3.Connection, namespace: str, memory: Memory, place: tuple[float, str], limit: int
) -> list[Row]:
    """Rows of this memory from that place on, by their age and key."""
    since, after = place
    found = connection.execute(_REMEMBERED, (namespace, memory, since, since, after, limit))
    return [to_row(one) for one in found]


def mark_sent(connection: sqlite3.Connection, namespace: str, keys: Iterable[str]) -> None:
    """Their replies are confirmed."""
    connection.executemany(_SENT, [(namespace, key) for key in keys])


def prune(connection: sqlite3.Connection, namespace: str, now: float) -> int:
    """Forget some refusals and tombstones whose time has passed; says how many."""
    passed = connection.execute(_PASSED, (namespace, now)).fetchall()
    connection.executemany(_DELETE, [(namespace, key) for (key,) in passed])
    return len(passed)


def forget(connection: sqlite3.Connection, namespace: str, memory: Memory, before: float) -> int:
    """In a transaction: forget the oldest rows of before that moment, and move the horizon to them."""
    old = connection.execute(_OLD, (namespace, memory, before)).fetchall()
    if old:
        connection.execute(_MOVE, (namespace, memory, max(began for _, began in old)))
        connection.executemany(_DELETE, [(namespace, key) for key, _ in old])
    return len(old)


def to_row(found: Sequence[Any]) -> Row:
    """The barrier row in a row of these columns."""
    key, state, reply, prune_at, began, since = found
    return Row(key=key, state=state, content=reply, prune_at=prune_at, began=began, since=since or 0.0)

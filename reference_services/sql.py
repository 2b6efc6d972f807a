"""One SQL for the two databases that the shop may keep its tables in: as SQLite has it, and as PostgreSQL is told it.

A value is `?`. A service's own transaction is spoken to through `sql`; what blocks, through `tables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, Protocol

from choros import SqliteTransaction, Transaction, UsageError

POSTGRESQL = ("postgresql://", "postgres://")
_OTHER_WORDS = {
    "INTEGER PRIMARY KEY": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "INTEGER": "BIGINT",
    ") STRICT": ")",
    "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')": "now()::text",
}
_WORD = re.compile("|".join(map(re.escape, _OTHER_WORDS)))


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables, each made where it is missing."""

    tables: Sequence[str]
    final: Sequence[str] = ()
    """Those whose rows are only ever added: the database itself refuses to change or to remove one."""

    def in_sqlite(self) -> Sequence[str]:
        """The statements that make them."""
        return (*self.tables, *(
            f"""CREATE TRIGGER IF NOT EXISTS {table}_{act.lower()} BEFORE {act} ON {table}
                BEGIN SELECT RAISE(ABORT, '{_final(table)}'); END"""
            for table in self.final for act in ("UPDATE", "DELETE")
        ))  # fmt: skip

    def in_postgresql(self) -> Sequence[str]:
        """The same there."""
        return (*map(in_postgresql, self.tables), *(
            statement
            for table in self.final
            for statement in (
                f"""CREATE OR REPLACE FUNCTION {table}_is_final() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION '{_final(table)}'; END $$""",
                f"""CREATE OR REPLACE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION {table}_is_final()""",
            )
        ))  # fmt: skip


def _final(table: str) -> str:
    return f"a row of {table} is never changed or removed"


@cache
def in_postgresql(statement: str) -> str:
    """The statement as PostgreSQL has it, its values numbered."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", _WORD.sub(lambda word: _OTHER_WORDS[word[0]], statement))


class Sql(Protocol):
    """A service's own database, within the transaction that also holds the reply."""

    async def execute(self, sql: str, parameters: Any = ()) -> object:
        """Run one statement."""
        ...

    async def fetch(self, sql: str, parameters: Any = ()) -> Sequence[Sequence[Any]]:
        """All rows of a query."""
        ...

    async def fetchone(self, sql: str, parameters: Any = ()) -> Sequence[Any] | None:
        """The first row of a query, or None."""
        ...


def sql(db: Transaction) -> Sql:
    """What a handler's transaction is spoken to by; raises UsageError where that speaks another language."""
    if isinstance(db, SqliteTransaction):
        return db
    from choros.postgres import PostgresTransaction  # an extra

    if isinstance(db, PostgresTransaction):
        return _Numbered(db)
    raise UsageError(
        f"The shop's tables cannot be kept through a {type(db).__name__}.",
        "--database sqlite:///file or postgresql://host/database.",
    )


async def make_tables(db: Transaction, schema: Schema) -> None:
    """Make those that are missing."""
    there = sql(db)
    for statement in schema.in_postgresql() if isinstance(there, _Numbered) else schema.in_sqlite():
        await there.execute(statement)


class _Numbered:
    """asyncpg's connection, spoken to as a `SqliteTransaction` is."""

    def __init__(self, db: Any) -> None:
        self._connection = db.connection

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> object:
        return await self._connection.execute(in_postgresql(sql), *parameters)

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        found: Sequence[Sequence[Any]] = await self._connection.fetch(in_postgresql(sql), *parameters)
        return found

    async def fetchone(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any] | None:
        found: Sequence[Any] | None = await self._connection.fetchrow(in_postgresql(sql), *parameters)
        return found

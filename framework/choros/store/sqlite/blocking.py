"""A SQLite transaction for a handler that is no coroutine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from choros.store.blocking import BlockingTransaction
from choros.store.sqlite.transaction import SqliteTransaction


class BlockingSqliteTransaction(BlockingTransaction):
    """`SqliteTransaction` for a handler that is written without `async`."""

    of: ClassVar[type[Any] | None] = SqliteTransaction

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run one statement; says how many rows it changed."""
        changed: int = self._wait(self._transaction.execute(sql, parameters))
        return changed

    def executemany(self, sql: str, rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> int:
        """Run one statement for each of these; says how many rows they changed."""
        changed: int = self._wait(self._transaction.executemany(sql, rows))
        return changed

    def fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        found: list[tuple[Any, ...]] = self._wait(self._transaction.fetch(sql, parameters))
        return found

    def fetchone(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        row: tuple[Any, ...] | None = self._wait(self._transaction.fetchone(sql, parameters))
        return row

"""A participant's database in memory, with the semantics of the others, for tests, demos and simulations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from choros.errors import StoreUnreachable
from choros.store.barrier import FORGETTABLE, Database, Job, Row, Transaction

_ABSENT = object()


@dataclass(slots=True)
class _Tables:
    """What several MemoryDatabase objects may share; the lock makes their transactions follow one another."""

    items: dict[Any, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    unsent: dict[str, int] = field(default_factory=dict)
    """Key -> number of the write, which is the order in which replies go out."""
    written: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class MemoryTransaction(Transaction):
    """Effects are written to one dictionary. Values are kept as they are given: put new ones, change none."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._undo: list[Callable[[], None]] = []

    async def get(self, key: Any, default: Any = None) -> Any:
        """The value of this key."""
        return self._tables.items.get(key, default)

    async def put(self, key: Any, value: Any) -> None:
        """Set the value of this key."""
        self._write(self._tables.items, key, value)

    async def delete(self, key: Any) -> None:
        """Take this key out."""
        self._write(self._tables.items, key, _ABSENT)

    async def read_row(self, key: str) -> Row | None:
        """The barrier row of this key."""
        return self._tables.rows.get(key)

    async def write_row(self, row: Row) -> None:
        """Insert or replace a barrier row."""
        self._write(self._tables.rows, row.key, row)
        self._tables.written += 1
        self._write(self._tables.unsent, row.key, self._tables.written if row.owes_reply else _ABSENT)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        mark = len(self._undo)
        try:
            yield
        except BaseException:
            self.take_back(mark)
            raise

    def take_back(self, mark: int = 0) -> None:
        """Undo all writes since the mark, the last one first."""
        while len(self._undo) > mark:
            self._undo.pop()()

    def _write(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        old = table.get(key, _ABSENT)
        self._undo.append(lambda: _set(table, key, old))
        _set(table, key, value)


def _set(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = value


class MemoryDatabase(Database):
    """A participant's tables in this process; `sharing` another database, it works on the same ones."""

    def __init__(self, sharing: MemoryDatabase | None = None) -> None:
        self._tables: _Tables = sharing._tables if sharing else _Tables()
        self._open = False

    @property
    def items(self) -> dict[Any, Any]:
        """What the handlers have written: for tests to look at."""
        return self._tables.items

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return MemoryTransaction

    async def open(self) -> None:
        """Let it answer."""
        self._open = True

    async def close(self) -> None:
        """Stop answering; what is written stays."""
        self._open = False

    async def run(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Run the jobs one after another; all of them are taken back if it is cancelled."""
        tables = self._answering()
        async with tables.lock:
            group = MemoryTransaction(tables)
            async with group.savepoint():
                return [await self._run_one(group, job) for job in jobs]

    async def _run_one(self, group: MemoryTransaction, job: Job) -> Any:
        # A real database answers later: whoever else is ready runs in between, as it would there.
        await asyncio.sleep(0)
        try:
            async with group.savepoint():
                return await job(group)
        except Exception as error:
            return error

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed, oldest first."""
        tables = self._answering()
        async with tables.lock:
            oldest = sorted(tables.unsent, key=tables.unsent.__getitem__)
            return [tables.rows[key] for key in oldest[:limit]]

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed."""
        tables = self._answering()
        async with tables.lock:
            for key in keys:
                tables.unsent.pop(key, None)

    async def prune(self, now: float) -> int:
        """Forget refusals and tombstones whose time has passed."""
        tables = self._answering()
        async with tables.lock:
            old = [row.key for row in tables.rows.values() if _may_go(row, now)]
            for key in old:
                del tables.rows[key]
                tables.unsent.pop(key, None)
        return len(old)

    def _answering(self) -> _Tables:
        if not self._open:
            raise StoreUnreachable("This database is not open.", "await database.open() before using it.")
        return self._tables


def _may_go(row: Row, now: float) -> bool:
    return row.prune_at is not None and row.prune_at <= now and row.state in FORGETTABLE

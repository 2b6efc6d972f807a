"""A participant's database in memory, with the semantics of the others, for tests, demos and simulations."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from choros.errors import StoreUnreachable
from choros.store.barrier import (
    AT_ONCE,
    LISTED,
    NEVER,
    SCHEMA_VERSION,
    Carry,
    Database,
    Job,
    JobResult,
    Listed,
    Memory,
    NotDone,
    Ok,
    Row,
    Transaction,
)
from choros.store.local_undo import LocalUndo
from choros.store.standing import Standing

_ABSENT = object()
T = TypeVar("T")
Undo = list[Callable[[], None]]
"""What takes back each write of a run, in their order."""


@dataclass(slots=True)
class BarrierRows:
    """The barrier's rows of one namespace."""

    rows: dict[str, Row] = field(default_factory=dict)
    unsent: dict[str, int] = field(default_factory=dict)
    """Key -> number of the write, which is the order in which replies go out."""
    listed: dict[str, Row] = field(default_factory=dict)
    """Those that somebody still has something to do with."""
    horizons: dict[Memory, float] = field(default_factory=dict)

    def drop(self, keys: Sequence[str]) -> int:
        """Take these out; says how many."""
        for key in keys:
            del self.rows[key]
            self.unsent.pop(key, None)
        return len(keys)


@dataclass(slots=True)
class Tables:
    """What several MemoryDatabase objects may share; the lock makes their transactions follow one another."""

    items: dict[Any, Any] = field(default_factory=dict)
    barrier: dict[str, BarrierRows] = field(default_factory=lambda: defaultdict(BarrierRows))
    written: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class MemoryTransaction(Transaction):
    """Effects are written to one dictionary. Values are kept as they are given: put new ones, change none."""

    def __init__(self, tables: Tables, rows: BarrierRows, undo: Undo) -> None:
        self._tables, self._rows, self._undo = tables, rows, undo
        self.standing: Standing = Standing()
        self.local_undo: LocalUndo = self.standing.local_undo

    async def get(self, key: Any, default: Any = None) -> Any:
        """The value of this key."""
        self._call()
        return self._tables.items.get(key, default)

    async def put(self, key: Any, value: Any) -> None:
        """Set the value of this key."""
        self._call()
        self._write(self._tables.items, key, value)

    async def delete(self, key: Any) -> None:
        """Take this key out."""
        self._call()
        self._write(self._tables.items, key, _ABSENT)

    async def read_row(self, key: str) -> Row | None:
        """The barrier row of this key."""
        self.standing.check()
        return self._rows.rows.get(key)

    async def write_row(self, row: Row) -> None:
        """Insert or replace a barrier row."""
        self.standing.check()
        self._write(self._rows.rows, row.key, row)
        self._tables.written += 1
        self._write(self._rows.unsent, row.key, self._tables.written if row.owes_reply else _ABSENT)
        self._write(self._rows.listed, row.key, row if row.state in LISTED else _ABSENT)

    async def horizon(self, memory: Memory) -> float:
        """How far rows are forgotten."""
        self.standing.check()
        return self._rows.horizons.get(memory, NEVER)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        mark, written = self.standing.enter(), len(self._undo)
        try:
            yield
        except BaseException:
            if self.standing.fail(mark):
                take_back(self._undo, written)
            raise
        self.standing.leave(mark)

    def _call(self) -> None:
        """A call of the handler begins; here it cannot fail."""
        self.standing.check()

    def _write(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        old = table.get(key, _ABSENT)
        self._undo.append(lambda: _set(table, key, old))
        _set(table, key, value)


def take_back(undo: Undo, since: int = 0) -> None:
    """Undo all writes but the first so many, the last one first."""
    while len(undo) > since:
        undo.pop()()


def _set(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = value


class MemoryDatabase(Database):
    """A participant's tables in this process; `sharing` another database, it works on the same ones."""

    def __init__(self, sharing: MemoryDatabase | None = None, *, namespace: str = "choros") -> None:
        self._tables: Tables = sharing._tables if sharing else Tables()
        self._namespace = namespace
        self._open = False

    @property
    def items(self) -> dict[Any, Any]:
        """What the handlers have written: for tests to look at."""
        return self._tables.items

    @property
    def _rows(self) -> BarrierRows:
        return self._tables.barrier[self._namespace]

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return MemoryTransaction

    async def open(self) -> None:
        """Let it answer."""
        self._open = True

    async def schema_version(self) -> int:
        """What is in memory was written by this choros."""
        return SCHEMA_VERSION

    async def upgrade(self, carry: Carry) -> int:
        """Nothing is ever older."""
        return 0

    async def close(self) -> None:
        """Stop answering; what is written stays."""
        self._open = False

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """Run the jobs one after another; all of them are taken back if it is cancelled."""
        try:
            self._check_open()
            return await self._in_turn(jobs)
        except StoreUnreachable as error:
            return [NotDone(error)] * len(jobs)

    async def _in_turn(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        async with self._tables.lock:
            undo: Undo = []
            try:
                return [await self._run_one(undo, job) for job in jobs]
            except BaseException:
                take_back(undo)
                raise

    async def _run_one(self, undo: Undo, job: Job[T]) -> JobResult[T]:
        # A real database answers later: whoever else is ready runs in between, as it would there.
        await asyncio.sleep(0)
        transaction, written = self._begin(undo), len(undo)
        try:
            result = await transaction.standing.judged(job, transaction)
        finally:
            transaction.standing.end()
        if not isinstance(result, Ok):
            take_back(undo, written)
        return result

    def _begin(self, undo: Undo) -> MemoryTransaction:
        return MemoryTransaction(self._tables, self._rows, undo)

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed, oldest first."""
        self._check_open()
        async with self._tables.lock:
            rows, unsent = self._rows.rows, self._rows.unsent
            return [rows[key] for key in sorted(unsent, key=unsent.__getitem__)[:limit]]

    async def listed(self, state: Listed, limit: int) -> Sequence[Row]:
        """Rows of this state, the oldest first."""
        self._check_open()
        async with self._tables.lock:
            found = [row for row in self._rows.listed.values() if row.state == state]
            return sorted(found, key=lambda row: row.since)[:limit]

    async def remembered(self, memory: Memory, since: float, after: str, limit: int) -> Sequence[Row]:
        """Rows of this memory from that moment on, behind that key."""
        self._check_open()
        async with self._tables.lock:
            aged = [row for row in self._rows.rows.values() if row.memory == memory]
            behind = [row for row in aged if (row.ages_from, row.key) > (since, after)]
            return sorted(behind, key=lambda row: (row.ages_from, row.key))[:limit]

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed."""
        self._check_open()
        async with self._tables.lock:
            for key in keys:
                self._rows.unsent.pop(key, None)

    async def prune(self, now: float) -> int:
        """Forget refusals and tombstones whose time has passed."""
        self._check_open()
        async with self._tables.lock:
            return self._rows.drop(
                [row.key for row in self._rows.rows.values() if row.ends is not None and row.ends <= now]
            )

    async def forget(self, memory: Memory, before: float) -> int:
        """Forget the oldest rows of before that moment, and move the horizon to them."""
        self._check_open()
        async with self._tables.lock:
            rows = self._rows
            aged = [row for row in rows.rows.values() if row.memory == memory and row.key not in rows.unsent]
            old = sorted((row for row in aged if row.ages_from < before), key=lambda row: row.ages_from)[:AT_ONCE]
            moments = [rows.horizons.get(memory, NEVER), *(row.began for row in old if row.began is not None)]
            rows.horizons[memory] = max(moments)
            return rows.drop([row.key for row in old])

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnreachable("This database is not open.", "await database.open() before using it.")

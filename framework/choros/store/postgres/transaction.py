"""What an asyncpg handler works with: the connection, in the transaction that holds the barrier row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import asyncpg
from asyncpg.transaction import Transaction as Block

from choros.errors import UsageError
from choros.store.barrier import MEMORIES, NEVER, Memory, Row
from choros.store.sql import statements
from choros.store.sql.errors import WhatItMeans, meaning_of
from choros.store.sql.script import ends_transaction
from choros.store.sql.statements import numbered
from choros.store.sql.transaction import SqlTransaction


class HandlerConnection(asyncpg.Connection):
    """A connection of the pool, which knows the transaction of the job that it serves."""

    __slots__ = ("_ends", "_lent", "_serves")

    def __init__(self, *connected: Any, **options: Any) -> None:
        super().__init__(*connected, **options)
        self._serves: PostgresTransaction | None = None
        self._lent = self._ends = False

    def serve(self, transaction: PostgresTransaction | None) -> None:
        """From here on it is in the hands of this one's handler; of None, in ours."""
        self._serves = transaction

    def lend(self) -> None:
        """A handler has it, and may leave something of its own in the session."""
        self._lent = True

    def get_reset_query(self) -> str:
        """What puts the session back, before somebody else has the connection; nothing where that was said already."""
        return super().get_reset_query() if self._lent else ""

    async def end(self, block: Block, *, kept: bool) -> None:
        """End its transaction, and put the session back in the same breath."""
        self._serves, self._ends = None, True
        try:
            await (block.commit() if kept else block.rollback())
            self._lent = False
        finally:
            self._ends = False

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """As asyncpg has it, but that it neither begins nor ends a transaction."""
        with self._watched(query):
            said = f"{query}\n{self.get_reset_query()}" if self._ends else query
            return await super().execute(said, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        """The same."""
        with self._watched(command):
            await super().executemany(command, args, **options)

    async def _execute(self, query: str, *args: Any, **options: Any) -> Any:
        with self._watched(query):
            return await super()._execute(query, *args, **options)  # type: ignore[misc] # all that fetches goes here

    @contextmanager
    def _watched(self, query: str) -> Iterator[None]:
        transaction = self._serves
        if transaction is None:
            yield
            return
        transaction.standing.check()
        if ends_transaction(query):
            raise UsageError("A handler cannot begin or end transactions.", "async with connection.transaction(): ...")
        try:
            yield
        except BaseException as error:
            transaction.note(error, gone=self.is_closed())
            raise


class PostgresTransaction(SqlTransaction):
    """A handler takes this, or by its type the `asyncpg.Connection` of it."""

    sessions: ClassVar[tuple[type, ...]] = (asyncpg.Connection,)

    def __init__(
        self, connection: Any, block: Block, where: str, namespace: str, horizons: dict[Memory, float],
        *, snapshot: bool,
    ) -> None:  # fmt: skip
        """`block`: what ends it. `horizons`: as the process has last heard of them."""
        super().__init__(where, namespace, snapshot=snapshot)
        self._connection, self._block, self._horizons = connection, block, horizons
        self._believed: dict[Memory, float] = {}
        self._snapshot = snapshot
        self._open: list[str] = []
        self._kept = ""
        """A savepoint that nothing goes back to any more, and that is still there."""
        self._savepoints = itertools.count(1)

    @property
    def connection(self) -> asyncpg.Connection:
        """What it says commits with the command. For a part of it: `async with connection.transaction()`."""
        self.standing.check()
        self._connection.lend()
        found: asyncpg.Connection = self._connection
        return found

    async def commit(self) -> None:
        """Commit all of it."""
        self.standing.check()
        await self._connection.end(self._block, kept=True)

    async def roll_back(self) -> None:
        """Keep nothing of it."""
        await self._connection.end(self._block, kept=False)

    async def horizon(self, memory: Memory) -> float:
        """As it is believed to be, to save a trip; whether it was, is asked as the rows are written down."""
        if self._snapshot:
            return await super().horizon(memory)
        if memory not in self._horizons:
            self._horizons[memory] = await super().horizon(memory)
        self.standing.check()
        self._believed[memory] = believed = self._horizons[memory]
        return believed

    async def write(self, rows: Sequence[Row]) -> None:
        """Put these rows into the table. Where a horizon has moved past one of them meanwhile, it is done again."""
        await super().write(rows[:-1] if self._believed else rows)
        if self._believed:
            now = await self._looked(rows)
            self._horizons.update(now)
            if _moved_past(rows, self._believed, now):
                self.meets_another()

    async def _looked(self, rows: Sequence[Row]) -> Mapping[Memory, float]:
        """How far rows are forgotten by now: with the last of these, or by a trip of its own."""
        if not rows:
            return {memory: await self.look(memory) for memory in self._believed}
        (found,) = await self._ask(statements.WRITE_AND_LOOK, statements.columns_of(rows[-1]))
        return {memory: NEVER if at is None else at for memory, at in zip(MEMORIES, found, strict=True)}

    def given(self, kind: type) -> asyncpg.Connection:
        """The connection."""
        return self.connection

    async def ask(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows of the answer."""
        sql, names = numbered(statement)
        found: Sequence[Sequence[Any]] = await self._connection.fetch(sql, *(values[name] for name in names))
        return found

    async def tell(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Once for each of these."""
        sql, names = numbered(statement)
        rows = [[one[name] for name in names] for one in values]
        if len(rows) == 1:
            await self._connection.execute(sql, *rows[0])
        else:
            await self._connection.executemany(sql, rows)

    async def begin_savepoint(self) -> str:
        """Those of asyncpg, which a handler begins, nest in it."""
        name, kept = f"choros_{next(self._savepoints)}", self._kept
        await self._connection.execute(f"{f'RELEASE {kept};' if kept else ''} SAVEPOINT {name}")
        self._kept = ""
        self._open.append(name)
        return name

    async def end_savepoint(self, mark: str, *, kept: bool) -> None:
        """Go back to it, or forget it: the outermost when the next begins, which mostly is never."""
        self._open.remove(mark)
        if not kept:
            await self._connection.execute(f"ROLLBACK TO {mark}; RELEASE {mark}")
        elif self._open:
            await self._connection.execute(f"RELEASE {mark}")
        else:
            self._kept = mark

    async def settle(self) -> None:
        """It holds nothing back."""

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE."""
        return meaning_of(error)


def _moved_past(rows: Sequence[Row], believed: Mapping[Memory, float], now: Mapping[Memory, float]) -> bool:
    """Whether a horizon has moved beyond what one of these rows is about; without rows, whether it has moved."""
    moved = [now[memory] for memory, then in believed.items() if now[memory] > then]
    return bool(moved) and (not rows or any(row.began is None or row.began <= max(moved) for row in rows))

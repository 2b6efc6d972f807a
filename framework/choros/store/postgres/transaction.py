"""What an asyncpg handler works with: the connection, in the transaction that holds the barrier row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import asyncpg
from asyncpg.transaction import Transaction as Block

from choros.errors import UsageError
from choros.store.sql.errors import WhatItMeans, meaning_of
from choros.store.sql.script import ends_transaction
from choros.store.sql.statements import numbered
from choros.store.sql.transaction import SqlTransaction


class HandlerConnection(asyncpg.Connection):
    """A connection of the pool, which knows the transaction of the job that it serves."""

    __slots__ = ("_serves",)

    def serve(self, transaction: PostgresTransaction | None) -> None:
        """From here on it is in the hands of this one's handler; of None, in ours."""
        self._serves = transaction

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """As asyncpg has it, but that it neither begins nor ends a transaction."""
        with self._watched(query):
            return await super().execute(query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        """The same."""
        with self._watched(command):
            await super().executemany(command, args, **options)

    async def _execute(self, query: str, *args: Any, **options: Any) -> Any:
        with self._watched(query):
            return await super()._execute(query, *args, **options)  # type: ignore[misc] # all that fetches goes here

    @contextmanager
    def _watched(self, query: str) -> Iterator[None]:
        transaction: PostgresTransaction | None = getattr(self, "_serves", None)
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

    def __init__(self, connection: Any, block: Block, where: str, namespace: str, *, snapshot: bool) -> None:
        """`block`: what ends it."""
        super().__init__(where, namespace, snapshot=snapshot)
        self._connection, self._block = connection, block

    @property
    def connection(self) -> asyncpg.Connection:
        """What it says commits with the command. For a part of it: `async with connection.transaction()`."""
        self.standing.check()
        found: asyncpg.Connection = self._connection
        return found

    async def commit(self) -> None:
        """Commit all of it."""
        self.standing.check()
        self._connection.serve(None)
        await self._block.commit()

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

    async def begin_savepoint(self) -> Block:
        """One of asyncpg's own, so that a handler's nest in it."""
        block: Block = self._connection.transaction()
        await block.start()
        return block

    async def end_savepoint(self, mark: Block, *, kept: bool) -> None:
        """Release it, or go back to it."""
        await (mark.commit() if kept else mark.rollback())

    async def settle(self) -> None:
        """It holds nothing back."""

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE."""
        return meaning_of(error)

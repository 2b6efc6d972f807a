"""A participant's PostgreSQL, through asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import asyncpg

from choros.errors import StoreUnreachable, UsageError
from choros.store.barrier import Memory, Transaction
from choros.store.postgres.address import Address, address_of
from choros.store.postgres.transaction import HandlerConnection, PostgresTransaction
from choros.store.sql.barrier import SqlDatabase
from choros.store.sql.errors import WhatItMeans, meaning_of

__all__ = ["PostgresDatabase", "PostgresTransaction"]

Isolation = Literal["read_committed", "repeatable_read", "serializable"]
FOR_OURS = 2
"""Connections for what is no job."""
CLOSE_SECONDS = 5.0
SENT_ALL = "UPDATE choros_barrier SET unsent = NULL WHERE namespace = $1 AND key = ANY($2::text[])"
OURS: Isolation = "read_committed"
"""Of what is no job: it locks what it works on."""


class PostgresDatabase(SqlDatabase):
    """The tables of a service, and beside them those of the barrier; of these, it sees one `namespace`.

    Handlers get the `asyncpg.Connection`, in the transaction of their command, as many at a time as there are
    `connections`. Behind a pooler that keeps no session, end the address with `?statement_cache_size=0`.
    """

    def __init__(
        self, url: str, namespace: str = "choros", *, connections: int = 16, isolation: Isolation | None = None
    ) -> None:
        """`isolation` of its transactions; None for what the server or the role has."""
        self._address = address_of(url)
        super().__init__(self._address.name, namespace, f"--database {self._address.name}")
        self._connections, self._isolation = connections, isolation
        self._horizons: dict[Memory, float] = {}
        self._pool: Any = None

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return PostgresTransaction

    async def opened(self) -> int:
        """Have a pool."""
        if self._pool is None:
            self._pool = await self._connected(self._address)
        return self._connections

    async def _connected(self, address: Address) -> Any:
        try:
            return await asyncpg.create_pool(
                address.dsn,
                min_size=1,
                max_size=self._connections + FOR_OURS,
                connection_class=HandlerConnection,
                server_settings={"search_path": address.schema} if address.schema else {},
                statement_cache_size=100 if address.prepared else 0,
            )
        except ValueError:
            hint = "postgresql://user:password@host:5432/database; / in a password is %2F, @ is %40."
            raise UsageError(f"The address {self._where} means nothing.", hint) from None

    async def close(self) -> None:
        """Let go of the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
            except TimeoutError:
                pool.terminate()

    async def sees_a_snapshot(self) -> bool:
        """Whether a transaction has another isolation than READ COMMITTED."""
        async with self.begun() as transaction:
            ((level,),) = await transaction.ask("SHOW transaction_isolation", {})
        return level not in ("read committed", "read uncommitted")

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed: one statement, which is a transaction by itself."""
        if keys:
            await self._insisted(partial(self._mark_sent, sorted(keys)))

    async def _mark_sent(self, keys: Sequence[str]) -> None:
        async with self._opened_pool().acquire() as connection:
            connection.serve(None)
            await connection.execute(SENT_ALL, self._namespace, keys)

    def _opened_pool(self) -> Any:
        if self._pool is None:
            raise StoreUnreachable(f"The database {self._where} is not open.", "await database.open() before using it.")
        return self._pool

    @asynccontextmanager
    async def begun(self, *, ours: bool = False) -> AsyncIterator[PostgresTransaction]:
        """One of the pool's connections."""
        async with self._opened_pool().acquire() as connection:
            block = connection.transaction(isolation=OURS if ours else self._isolation)
            transaction = PostgresTransaction(
                connection, block, self._where, self._namespace, self._horizons, snapshot=self.snapshot
            )
            await block.start()
            connection.serve(None if ours else transaction)
            try:
                yield transaction
            finally:
                connection.serve(None)
                if connection.is_in_transaction() and not connection.is_closed():
                    await transaction.roll_back()

    async def commit(self, transaction: PostgresTransaction) -> None:
        """Commit its connection's transaction."""
        await transaction.commit()

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE."""
        return meaning_of(error)

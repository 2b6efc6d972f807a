"""A participant's database behind an engine of SQLAlchemy: PostgreSQL by asyncpg or psycopg, or SQLite by aiosqlite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker, create_async_engine

from choros.errors import StoreUnreachable, shown
from choros.store.barrier import Transaction
from choros.store.sql.barrier import SqlDatabase
from choros.store.sql.errors import WhatItMeans, meaning_of
from choros.store.sqlalchemy.engines import check_engine, made, places_of
from choros.store.sqlalchemy.guard import OPTION, watch
from choros.store.sqlalchemy.transaction import SqlAlchemyTransaction

__all__ = ["SqlAlchemyDatabase", "SqlAlchemyTransaction"]


class SqlAlchemyDatabase(SqlDatabase):
    """The tables of a service, and beside them those of the barrier; of these, it sees one `namespace`.

    Handlers get an `AsyncSession` of these `sessions`, or the `AsyncConnection`, in the transaction of their command:
    as many at a time as the engine's pool keeps connections, one on SQLite.
    """

    def __init__(
        self, engine: AsyncEngine | str, namespace: str = "choros", *, sessions: async_sessionmaker[Any] | None = None
    ) -> None:
        """`engine`: yours, which you dispose of; or an address, as SQLAlchemy has it."""
        url = engine if isinstance(engine, str) else engine.url.render_as_string(hide_password=True)
        super().__init__(shown(url), namespace, f"--database {shown(url)}")
        self._url = engine if isinstance(engine, str) else ""
        self._engine = None if isinstance(engine, str) else engine
        self._sessions: async_sessionmaker[Any] = sessions or async_sessionmaker(expire_on_commit=False)

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return SqlAlchemyTransaction

    async def opened(self) -> int:
        """Have an engine, and say how many connections it keeps."""
        if self._engine is None:
            self._engine = made(create_async_engine, self._url)
        check_engine(self._engine.sync_engine)
        watch(self._engine.sync_engine)
        return places_of(self._engine.sync_engine)

    async def close(self) -> None:
        """Let go of an engine of its own."""
        if self._url and self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    async def sees_a_snapshot(self) -> bool:
        """Whether the engine, or the role, has another isolation than READ COMMITTED; SQLite has one writer."""
        async with self._opened_engine().connect() as connection:
            if connection.dialect.name == "sqlite":
                return False
            return await connection.scalar(text("SHOW transaction_isolation")) not in (
                "read committed",
                "read uncommitted",
            )

    @asynccontextmanager
    async def begun(self, *, ours: bool = False) -> AsyncIterator[SqlAlchemyTransaction]:
        """One of the engine's connections."""
        async with self._opened_engine().connect() as connection:
            transaction = SqlAlchemyTransaction(
                connection, self._where, self._namespace, self._sessions, snapshot=self.snapshot
            )
            if ours and connection.dialect.name == "postgresql":  # it locks what it works on
                await connection.execution_options(isolation_level="READ COMMITTED")
            root = await connection.begin()
            if not ours:
                await _begin_on_sqlite(connection)
                await connection.execution_options(**{OPTION: transaction})
            try:
                yield transaction
            finally:
                whole, transaction.ending = transaction.ending or root.is_active, True
                if not whole and not connection.closed:  # its handler tried to end it: what is left open, nobody knows
                    await connection.invalidate()

    async def commit(self, transaction: SqlAlchemyTransaction) -> None:
        """Commit its connection's transaction."""
        connection, transaction.ending = transaction.connection, True
        await connection.commit()

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE, or by what SQLite says."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return "away"
        return meaning_of(error)

    def _opened_engine(self) -> AsyncEngine:
        if self._engine is None:
            raise StoreUnreachable(f"The database {self._where} is not open.", "await database.open() before using it.")
        return self._engine


async def _begin_on_sqlite(connection: AsyncConnection) -> None:
    """Python's driver begins only where something is written: a savepoint before that would commit when it ends."""
    if connection.dialect.name == "sqlite":
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        if driver is not None and not driver.in_transaction:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")

"""Databases that speak SQL through a driver pass the one suite that defines one, at each isolation level."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from choros.store.barrier import Database, Ok, value_of
from choros.store.postgres.barrier import PostgresDatabase
from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase
from choros.store.sqlalchemy.transaction import SqlAlchemyTransaction
from choros.testing.conformance.barrier import AnotherDatabase, BarrierConformance
from tests.store.conftest import Opening


class Suite(BarrierConformance):
    __test__ = False

    @pytest.fixture
    async def database(self, another: AnotherDatabase) -> Database:
        return await another()

    async def add(self, tx: SqlAlchemyTransaction, amount: int) -> None:
        await tx.session.execute(text("INSERT INTO counter VALUES (:amount)"), {"amount": amount})

    async def total(self, database: Database) -> int:
        async def job(tx: Any) -> Any:
            return await tx.connection.scalar(text("SELECT coalesce(sum(amount), 0) FROM counter"))

        return int(value_of(*await database.run([job])))


@pytest.mark.long
class TestAiosqlite(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, tmp_path: Path) -> AnotherDatabase:
        async def prepare(tx: Any) -> None:
            await tx.connection.execute(text("CREATE TABLE IF NOT EXISTS counter (amount INTEGER)"))

        async def another(namespace: str = "choros") -> Database:
            url = f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}"
            database: Database = await opened(SqlAlchemyDatabase(url, namespace))
            assert list(await database.run([prepare])) == [Ok(None)]
            return database

        return another

    async def lose(self, tx: SqlAlchemyTransaction) -> None:
        await tx.connection.execute(text("PRAGMA max_page_count = 1"))  # it cannot be less than there are
        try:
            await tx.session.execute(text("INSERT INTO counter VALUES (zeroblob(1000000))"))
        finally:
            raw = await tx._connection.get_raw_connection()
            await raw.driver_connection.execute(  # type: ignore[union-attr] # it is there
                "PRAGMA max_page_count = 1000000"
            )


class TestPostgresDatabase(Suite):
    """Through asyncpg alone."""

    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, postgres_schema: str) -> AnotherDatabase:
        async def prepare(tx: Any) -> None:
            await tx.connection.execute("CREATE TABLE IF NOT EXISTS counter (amount INTEGER)")

        async def another(namespace: str = "choros") -> Database:
            database: Database = await opened(PostgresDatabase(postgres_schema, namespace, connections=5))
            assert list(await database.run([prepare])) == [Ok(None)]
            return database

        return another

    async def lose(self, tx: Any) -> None:
        await tx.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def add(self, tx: Any, amount: int) -> None:
        await tx.connection.execute("INSERT INTO counter VALUES ($1)", amount)

    async def total(self, database: Database) -> int:
        async def job(tx: Any) -> Any:
            return await tx.connection.fetchval("SELECT coalesce(sum(amount), 0) FROM counter")

        return int(value_of(*await database.run([job])))


class OnPostgreSQL(Suite):
    driver = "asyncpg"
    isolation = "READ COMMITTED"

    @pytest.fixture
    async def another(self, opened: Opening, postgres_schema: str) -> AsyncIterator[AnotherDatabase]:
        engines: list[AsyncEngine] = []

        async def prepare(tx: Any) -> None:
            await tx.connection.execute(text("CREATE TABLE IF NOT EXISTS counter (amount INTEGER)"))

        async def another(namespace: str = "choros") -> Database:
            url = postgres_schema.replace("postgresql://", f"postgresql+{self.driver}://")
            engines.append(create_async_engine(url, isolation_level=self.isolation))
            database: Database = await opened(SqlAlchemyDatabase(engines[-1], namespace))
            assert list(await database.run([prepare])) == [Ok(None)]
            return database

        yield another
        for engine in engines:
            await engine.dispose()

    async def lose(self, tx: SqlAlchemyTransaction) -> None:
        await tx.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.long
class TestAsyncpg(OnPostgreSQL):
    __test__ = True


@pytest.mark.long
class TestPsycopgSerializable(OnPostgreSQL):
    __test__ = True
    driver = "psycopg"
    isolation = "SERIALIZABLE"


@pytest.mark.long
class TestAsyncpgRepeatableRead(OnPostgreSQL):
    __test__ = True
    isolation = "REPEATABLE READ"

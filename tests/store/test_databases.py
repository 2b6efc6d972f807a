"""Every participant's database passes the one suite that defines one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from choros.errors import StoreUnreachable
from choros.store.barrier import Database, Ok, value_of
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.transaction import RedisTransaction
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.transaction import SqliteTransaction
from choros.testing.conformance.barrier import AnotherDatabase, BarrierConformance
from tests.store.conftest import Opening


class Suite(BarrierConformance):
    """The fixtures that all three have in common."""

    __test__ = False

    @pytest.fixture
    async def database(self, another: AnotherDatabase) -> Database:
        return await another()


class TestMemoryDatabase(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening) -> AnotherDatabase:
        first = MemoryDatabase()

        async def another(namespace: str = "choros") -> Database:
            return await opened(MemoryDatabase(sharing=first, namespace=namespace))  # type: ignore[no-any-return] # what goes in comes out

        return another

    async def lose(self, tx: MemoryTransaction) -> None:
        tx.standing.lose(StoreUnreachable("It is away."))
        await tx.get("any")

    async def add(self, tx: MemoryTransaction, amount: int) -> None:
        await tx.put("total", await tx.get("total", 0) + amount)

    async def total(self, database: Any) -> int:
        return int(database.items.get("total", 0))


class TestSqliteDatabase(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, tmp_path: Path) -> AnotherDatabase:
        async def prepare(tx: Any) -> None:
            await tx.execute("CREATE TABLE IF NOT EXISTS counter (amount INTEGER)")

        async def another(namespace: str = "choros") -> Database:
            database: Database = await opened(SqliteDatabase(tmp_path / "shop.db", namespace))
            assert list(await database.run([prepare])) == [Ok(None)]
            return database

        return another

    async def lose(self, tx: SqliteTransaction) -> None:
        await tx.execute("PRAGMA max_page_count = 1")  # it cannot be less than there are
        try:
            await tx.execute("INSERT INTO counter VALUES (zeroblob(1000000))")
        finally:
            tx._connection.execute("PRAGMA max_page_count = 1000000")

    async def add(self, tx: SqliteTransaction, amount: int) -> None:
        assert await tx.execute("INSERT INTO counter VALUES (?)", (amount,)) == 1

    async def total(self, database: Database) -> int:
        async def job(tx: Any) -> Any:
            return await tx.fetchone("SELECT coalesce(sum(amount), 0) FROM counter")

        return int(value_of(*await database.run([job]))[0])


class TestRedisDatabase(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, redis_url: str, namespace: str, redis_client: object) -> AnotherDatabase:
        mine, self.counter = namespace, f"{namespace}:total"

        async def another(namespace: str = "choros") -> Database:
            return await opened(RedisDatabase(redis_url, f"{mine}.{namespace}"))  # type: ignore[no-any-return] # as above

        return another

    async def lose(self, tx: RedisTransaction) -> None:
        (number,) = await tx._server.talk_on(tx._connection, [("CLIENT", "ID")])
        await tx._server.ask("CLIENT", "KILL", "ID", number)
        await tx.get("any")

    async def add(self, tx: RedisTransaction, amount: int) -> None:
        await tx.incrby(self.counter, amount)

    async def total(self, database: Database) -> int:
        async def job(tx: Any) -> Any:
            return await tx.get(self.counter)

        total = value_of(*await database.run([job]))
        return int(total or 0)

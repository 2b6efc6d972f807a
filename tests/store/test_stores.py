"""Every store passes the one suite that defines a store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from redis.asyncio import Redis

from choros.store.memory.sagas import MemoryStore
from choros.store.postgres.sagas import PostgresStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import AnotherStore
from choros.testing.conformance.store import StoreConformance
from choros.testing.conformance.store_entries import BytesConformance
from tests.private_servers import PrivateRedis
from tests.store.conftest import Opening


class Suite(StoreConformance):
    """The fixtures that all three have in common."""

    __test__ = False

    @pytest.fixture
    async def store(self, another: AnotherStore) -> Store:
        return await another()


class TestMemoryStore(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening) -> AnotherStore:
        first = MemoryStore()

        async def another(namespace: str = "green") -> Store:
            return await opened(MemoryStore(sharing=first, namespace=namespace))  # type: ignore[no-any-return] # what goes in comes out

        return another


class TestSqliteStore(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, tmp_path: Path) -> AnotherStore:
        async def another(namespace: str = "green") -> Store:
            return await opened(SqliteStore(tmp_path / "sagas.db", namespace))  # type: ignore[no-any-return] # as above

        return another


class TestSqliteBytes(BytesConformance):
    """Pages that go into the write-ahead log."""

    @pytest.fixture
    async def store(self, opened: Opening, tmp_path: Path) -> Store:
        self.path, self.before = tmp_path / "sagas.db", 0
        return await opened(SqliteStore(self.path))  # type: ignore[no-any-return] # as above

    async def written(self) -> int:
        """What is in the log, and what it held each time before it was moved into the file."""
        self.before += self.path.with_name("sagas.db-wal").stat().st_size
        with closing(sqlite3.connect(self.path)) as file:
            assert file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        return self.before


@pytest.mark.servers
class TestRedisBytes(BytesConformance):
    """What goes into the append-only file."""

    @pytest.fixture
    async def store(self, opened: Opening, private_redis: PrivateRedis, ruinable: Redis) -> Store:
        self.client = ruinable
        return await opened(RedisStore(private_redis.url))  # type: ignore[no-any-return] # as above

    async def written(self) -> int:
        return int((await self.client.info("persistence"))["aof_current_size"])


class TestRedisStore(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, redis_url: str, namespace: str, redis_client: object) -> AnotherStore:
        prefix = namespace

        async def another(namespace: str = "green") -> Store:
            return await opened(RedisStore(redis_url, f"{prefix}.{namespace}"))  # type: ignore[no-any-return] # as above

        return another


class TestPostgresStore(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, postgres_url: str, namespace: str) -> AnotherStore:
        prefix = namespace

        async def another(namespace: str = "green") -> Store:
            return await opened(PostgresStore(postgres_url, f"{prefix}.{namespace}"))  # type: ignore[no-any-return] # as above

        return another

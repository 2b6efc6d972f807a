"""Every store passes the one suite that defines a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.store import AnotherStore, StoreConformance
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


class TestRedisStore(Suite):
    __test__ = True

    @pytest.fixture
    async def another(self, opened: Opening, redis_url: str, namespace: str, redis_client: object) -> AnotherStore:
        prefix = namespace

        async def another(namespace: str = "green") -> Store:
            return await opened(RedisStore(redis_url, f"{prefix}.{namespace}"))  # type: ignore[no-any-return] # as above

        return another

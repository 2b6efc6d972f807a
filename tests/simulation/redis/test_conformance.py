"""The real adapters pass their suites against the simulated server too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from choros.store.barrier import Database, value_of
from choros.store.redis.transaction import RedisTransaction
from choros.store.sagas import Store
from choros.testing.conformance.barrier import AnotherDatabase, BarrierConformance
from choros.testing.conformance.records import AnotherStore
from choros.testing.conformance.store import StoreConformance
from tests.simulation.redis.stage import RedisStage

Opened = Callable[[Any], Any]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:

        async def opened(one: Any) -> Any:
            await one.open()
            stack.push_async_callback(one.close)
            return one

        yield opened


class TestStoreOnSimulatedRedis(StoreConformance):
    @pytest.fixture
    async def another(self, opened: Opened) -> AnotherStore:
        stage = RedisStage()

        async def another(namespace: str = "green") -> Store:
            return await opened(stage.store(namespace))  # type: ignore[no-any-return] # what goes in comes out

        return another

    @pytest.fixture
    async def store(self, another: AnotherStore) -> Store:
        return await another()


class TestDatabaseOnSimulatedRedis(BarrierConformance):
    @pytest.fixture
    async def another(self, opened: Opened) -> AnotherDatabase:
        self.stage = RedisStage()

        async def another(namespace: str = "choros") -> Database:
            return await opened(self.stage.database(namespace))  # type: ignore[no-any-return] # as above

        return another

    @pytest.fixture
    async def database(self, another: AnotherDatabase) -> Database:
        return await another()

    async def lose(self, tx: RedisTransaction) -> None:
        for pipe in self.stage.pipes.of("somebody"):
            pipe.cut()
        await tx.get("any")

    async def add(self, tx: RedisTransaction, amount: int) -> None:
        await tx.incrby("total", amount)

    async def total(self, database: Database) -> int:
        async def job(tx: RedisTransaction) -> str | None:
            return await tx.get("total")

        total = value_of(*await database.run([job]))  # type: ignore[list-item]  # of this database
        return int(total or 0)

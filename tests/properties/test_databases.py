"""Every participant's database lives through the same random lives, behind the same barrier."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from choros.store.barrier import Database, value_of
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.transaction import RedisTransaction
from choros.store.sqlite.barrier import SqliteDatabase
from tests.properties.barrier_machine import BarrierMachine, Opening
from tests.properties.machines import explore
from tests.runtime.participant_stage import read_effects


async def look(database: Database, order: str) -> int:
    return (await read_effects(database)).get(order, 0)


async def look_in_redis(database: Database, order: str) -> int:
    async def job(tx: Any) -> str | None:
        assert isinstance(tx, RedisTransaction)
        return await tx.hget(order, "amount")

    amount = value_of(*await database.run([job]))
    return int(amount or 0)


def in_memory() -> Opening:
    first = MemoryDatabase()

    async def opening() -> Database:
        database = MemoryDatabase(sharing=first)
        await database.open()
        return database

    return opening


def in_file(path: Path) -> Opening:
    async def opening() -> Database:
        database = SqliteDatabase(path)
        await database.open()
        return database

    return opening


def in_redis(url: str, namespace: str) -> Opening:
    async def opening() -> Database:
        database = RedisDatabase(url, namespace)
        await database.open()
        return database

    return opening


def test_the_barrier_holds_in_memory() -> None:
    explore(lambda: BarrierMachine(in_memory(), look), 60)


def test_the_barrier_holds_in_sqlite(tmp_path: Path) -> None:
    number = itertools.count()
    explore(lambda: BarrierMachine(in_file(tmp_path / f"{next(number)}.db"), look), 10, 25)


@pytest.mark.long
def test_the_barrier_holds_in_redis(redis_url: str, namespace: str, redis_client: object) -> None:
    number = itertools.count()

    def machine() -> BarrierMachine:
        own = f"{namespace}-{next(number)}"
        return BarrierMachine(in_redis(redis_url, own), look_in_redis, f"{own}:")

    explore(machine, 15, 25)

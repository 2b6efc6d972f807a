"""Every store lives through the same random lives."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from tests.properties.machines import explore
from tests.properties.store_machine import Opening, StoreMachine


def in_memory() -> Opening:
    first = MemoryStore()

    async def opening() -> Store:
        store = MemoryStore(sharing=first)
        await store.open()
        return store

    return opening


def in_file(path: Path) -> Opening:
    async def opening() -> Store:
        store = SqliteStore(path)
        await store.open()
        return store

    return opening


def in_redis(url: str, namespace: str) -> Opening:
    async def opening() -> Store:
        store = RedisStore(url, namespace)
        await store.open()
        return store

    return opening


def test_the_memory_store_lives_as_the_model() -> None:
    explore(lambda: StoreMachine(in_memory()), 40)


def test_the_sqlite_store_lives_as_the_model(tmp_path: Path) -> None:
    number = itertools.count()
    explore(lambda: StoreMachine(in_file(tmp_path / f"{next(number)}.db")), 10, 20)


@pytest.mark.long
def test_the_redis_store_lives_as_the_model(redis_url: str, namespace: str, redis_client: object) -> None:
    number = itertools.count()
    explore(lambda: StoreMachine(in_redis(redis_url, f"{namespace}-{next(number)}")), 15, 25)

"""What tells one store from another, so that they do not take each other's replies."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sqlite.sagas import SqliteStore
from tests.store.conftest import Opening

FORM = re.compile(r"[0-9a-f]{12}")


async def test_a_file_keeps_its_identity_and_its_copy_has_it_too(tmp_path: Path, opened: Opening) -> None:
    first = SqliteStore(tmp_path / "sagas.db", "shop.shop")
    await first.open()
    identity = first.identity
    await first.close()
    assert FORM.fullmatch(identity)
    shutil.copy(tmp_path / "sagas.db", tmp_path / "copy.db")
    names = ("sagas.db", "sagas.db", "copy.db", "2.db")
    again, replica, copy, other = [await opened(SqliteStore(tmp_path / name, "shop.shop")) for name in names]
    assert again.identity == replica.identity == copy.identity == identity
    assert FORM.fullmatch(other.identity)
    assert other.lasting
    assert not MemoryStore().lasting
    assert other.identity != identity


async def test_a_file_from_before_gets_one(tmp_path: Path, opened: Opening) -> None:
    path = tmp_path / "sagas.db"
    await (store := SqliteStore(path)).open()
    await store.close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP TABLE identity")
    first, second = await opened(SqliteStore(path)), await opened(SqliteStore(path, "another"))
    assert first.identity == second.identity
    assert FORM.fullmatch(first.identity)


async def test_in_memory_it_belongs_to_what_is_shared() -> None:
    store = MemoryStore()
    assert store.identity == MemoryStore(store).identity
    assert store.identity != MemoryStore().identity


@pytest.mark.servers
async def test_in_redis_it_belongs_to_the_namespace(redis_url: str, namespace: str, opened: Opening) -> None:
    first = await opened(RedisStore(redis_url, namespace))
    again, other = await opened(RedisStore(redis_url, namespace)), await opened(RedisStore(redis_url, f"{namespace}-2"))
    assert first.identity == again.identity
    assert FORM.fullmatch(first.identity)
    assert other.identity != first.identity

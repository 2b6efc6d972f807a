"""What retention keeps small stays small, and what a look costs does not depend on how many records there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from benchmarks.growth import Growing
from choros.errors import StoreUnreachable
from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite import looks as sqlite_looks
from choros.store.sqlite import retention as sqlite_forgetting
from choros.store.sqlite import rows as sqlite_rows
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import creation, fact, stored
from tests.chaos.battlefield import redis_cli
from tests.chaos.full_store import SAGAS, full_until_freed
from tests.private_servers import PrivateRedis
from tests.store.conftest import Opening

OLD = 1_600_000_000.0


def enumerated(name: str, texts: list[object]) -> list[tuple[str, object]]:
    return [(f"{name}[{number}]", text) for number, text in enumerate(texts)]


def statements() -> dict[str, str]:
    """Everything that the SQLite store asks of its records, by name."""
    found = {
        f"{module.__name__.rpartition('.')[2]}.{name}": text
        for module in (sqlite_looks, sqlite_forgetting, sqlite_rows)
        for name, said in vars(module).items()
        for name, text in (enumerated(name, said) if isinstance(said, list) else [(name, said)])
        if isinstance(text, str) and text.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE"))
    }
    return {name: text for name, text in found.items() if "VALUES" not in text}


@pytest.mark.parametrize("name", statements())
async def test_no_statement_of_the_sqlite_store_reads_all_records(name: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sagas.db")
    await store.open()
    await store.close()
    text = statements()[name]
    with closing(sqlite3.connect(tmp_path / "sagas.db")) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?")).fetchall()
    for *_, step in plan:
        assert not step.startswith("SCAN") or "json_each" in step or "CONSTANT" in step, f"{text}: {step}"
        assert "USE TEMP B-TREE FOR ORDER BY" not in step, f"{text}: {step}"


async def test_what_a_fact_costs_does_not_depend_on_how_many_have_not_left(tmp_path: Path) -> None:
    """Its order is that of its own saga, so nothing else is looked at: the broker may be away for long."""
    store = SqliteStore(tmp_path / "sagas.db")
    await store.open()
    await store.close()
    values = dict.fromkeys(("scope", "saga_id", "id", "channel", "now", "envelope"))
    with closing(sqlite3.connect(tmp_path / "sagas.db")) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN {sqlite_rows._UNSENT}", values).fetchall()
    looks = [step for *_, step in plan if "outbox" in step]
    assert looks and all("saga_id=?" in step for step in looks)


async def grown(store: Store, sizes: list[int], seen: list[int], growing: Growing) -> None:
    for size in sizes:
        await growing.to(size)
        seen.append(await growing.bytes())
    assert len((await store.find(limit=10_000)).records) <= growing.window + 64


@pytest.mark.slow
async def test_a_sqlite_file_stays_as_it_is(tmp_path: Path, opened: Opening) -> None:
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    seen: list[int] = []
    await grown(store, [300, 900, 1500], seen, Growing(store, window=100, file=tmp_path / "sagas.db"))
    assert seen[2] <= seen[1] * 1.05


@pytest.mark.slow
async def test_the_memory_of_redis_stays_as_it_is(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url))
    seen: list[int] = []
    await grown(store, [300, 900, 1500], seen, Growing(store, window=100, admin=ruinable))
    assert seen[2] - seen[1] < 600 * 4400 / 4  # a quarter of what these would take


# --- a store that is full ---------------------------------------------------------------------------------------------


async def test_where_redis_is_out_of_memory_what_has_ended_can_still_be_deleted(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url))
    state = '{"x":"' + "x" * 20_000 + '"}'
    batch = [creation(f"s{n:03}", status="completed", updated_at=OLD + n, state=state) for n in range(200)]
    await stored(store, *batch, creation("live"))
    used = int((await ruinable.info("memory"))["used_memory"])
    await ruinable.config_set("maxmemory", used - 100_000)
    with pytest.raises(StoreUnreachable, match="out of memory"):
        await store.commit([creation("new")])
    room = await store.room()
    assert room is not None and room.share > 0.8
    await ruinable.script_flush()  # a server that was restarted knows no script, and has to take this one
    for _ in range(4):
        await store.forget(OLD + 1000)
    assert not (await store.find(status="completed")).records
    await stored(store, creation("new"))
    assert (await store.load(["s000"]))["s000"].record.gone


async def test_room_is_told_where_there_is_a_limit(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, tmp_path: Path
) -> None:
    store = await opened(RedisStore(private_redis.url))
    assert await store.room() is None
    await ruinable.config_set("maxmemory", 10**9)
    room = await store.room()
    assert room is not None and room.total == 10**9 and 0 < room.used < 10**8
    on_disk = await (await opened(SqliteStore(tmp_path / "sagas.db"))).room()
    assert on_disk is not None and 0 < on_disk.share < 1 and str(tmp_path) in on_disk.what
    assert await (await opened(MemoryStore())).room() is None


# --- start keys -------------------------------------------------------------------------------------------------------


async def test_sqlite_deletes_start_keys_a_few_at_a_time(tmp_path: Path, opened: Opening) -> None:
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    await stored(store, *(creation(f"s{n}", status="completed", updated_at=OLD + n) for n in range(20)))
    await store.forget(OLD + 99)
    done = [(await store.forget(0.0, keys_before=OLD + 15, limit=10)).keys for _ in range(3)]
    assert done == [10, 5, 0]
    assert sorted(await store.load([f"s{n}" for n in range(20)])) == [f"s{n}" for n in range(15, 20)]


async def test_redis_lets_a_start_key_expire_by_itself(
    redis_url: str, namespace: str, redis_client: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(redis_url, namespace))
    now = store.now()
    await stored(store, *(creation(f"s{n}", status="completed", updated_at=now - 100) for n in range(2)))
    await store.forget(now - 50, keys_before=now - 1000, limit=1)
    await store.forget(now - 50)
    left = [await redis_client.ttl(f"{{{namespace}}}:over:s{n}") for n in range(2)]
    assert (895 < left[0] <= 900, left[1]) == (True, -1)


async def test_what_redis_has_of_a_deleted_saga_is_its_start_key_alone(
    redis_url: str, namespace: str, redis_client: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(redis_url, namespace))
    ended = creation("s2", fact("f2"), status="completed", updated_at=OLD)
    await stored(store, ended)
    await store.mark_sent([("s2", "f2")])
    before = {key async for key in redis_client.scan_iter(match=f"{{{namespace}}}*")}
    await store.forget(OLD + 1)
    after = {key async for key in redis_client.scan_iter(match=f"{{{namespace}}}*")}
    assert not [key for key in after if b"s2" in key and b":over:" not in key]
    assert len(before) > len(after - {f"{{{namespace}}}:forgotten".encode()})


@pytest.mark.slow
async def test_what_chaos_fills_redis_with_retention_frees(private_redis: PrivateRedis, ruinable: Redis) -> None:
    """The fault itself, without voyages: so that a chaos run does not find out that it does nothing."""
    said = await full_until_freed(private_redis.url, partial(redis_cli, private_redis.port), 0.1)
    assert said.startswith(f"{SAGAS} old sagas deleted")
    info = await ruinable.info("memory")
    assert info["used_memory"] < info["maxmemory"]

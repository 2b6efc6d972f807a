"""Schemas of the saga store: whose records an upgrade takes, and what is there if it is interrupted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.sources import rerun_id_for, saga_id_for
from choros.store.redis import schema as redis_schema
from choros.store.redis.sagas import RedisStore
from choros.store.sqlite import version_1 as sqlite_version_1
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import command, creation, stored, waiting
from tests.store.conftest import Opening

OLD = """
CREATE TABLE saga (
    saga_id TEXT PRIMARY KEY, saga TEXT NOT NULL, saga_version INTEGER NOT NULL, start_key TEXT NOT NULL,
    digest TEXT NOT NULL, application TEXT NOT NULL, version INTEGER NOT NULL, transition_id TEXT NOT NULL,
    status TEXT NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL, updated_at REAL NOT NULL,
    wake_at REAL, received TEXT NOT NULL, undecided TEXT NOT NULL);
CREATE INDEX saga_by_wake_at ON saga (wake_at, saga_id) WHERE wake_at IS NOT NULL;
CREATE INDEX saga_by_status ON saga (status, started_at, saga_id, saga);
CREATE INDEX saga_by_started_at ON saga (started_at, saga_id);
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, saga_id TEXT NOT NULL, id TEXT NOT NULL, channel TEXT NOT NULL,
    saga TEXT NOT NULL, saga_version INTEGER NOT NULL, at REAL NOT NULL, envelope TEXT NOT NULL, UNIQUE (saga_id, id));
CREATE INDEX outbox_by_channel ON outbox (channel, number);
CREATE TABLE history (
    saga_id TEXT NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL, events TEXT NOT NULL,
    PRIMARY KEY (saga_id, version)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def old_file(path: Path, *owners: tuple[str, str]) -> dict[str, str]:
    """A file of the first schema with one saga of each (scope, key), and its run again; their ids."""
    ids: dict[str, str] = {}
    with closing(sqlite3.connect(path)) as file, file:
        file.executescript(OLD)
        for scope, key in owners:
            ids[f"{scope} {key}"] = saga_id_for(f"{scope}.order", key)
            ids[f"{scope} {key} again"] = rerun_id_for(ids[f"{scope} {key}"])
        for name, saga_id in ids.items():
            application = name.split()[0].rpartition(".")[2]
            values = (saga_id, "order", 1, name.split()[1], "d", application, 1, "t", "running", "{}", 1.0, 1.0, 2.0)
            file.execute(f"INSERT INTO saga VALUES ({', '.join('?' * 15)})", (*values, "[]", "[]"))
            entry = (saga_id, f"c {name}", "commands", "order", 1, 1.0, "{}")
            file.execute("INSERT INTO outbox VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", entry)
            file.execute("INSERT INTO history VALUES (?, 1, 1.0, '[]')", (saga_id,))
    return ids


async def test_an_upgrade_takes_what_is_provably_its_own(tmp_path: Path, opened: Opening) -> None:
    path = tmp_path / "sagas.db"
    ids = old_file(path, ("green.shop", "k"), ("blue.shop", "k"), ("green.desk", "k"), ("green.shop", "l"))
    green, blue = SqliteStore(path, "green.shop"), SqliteStore(path, "blue.shop")
    assert (await green.upgrade()).records == 4
    done = await green.upgrade()
    assert (done.found, done.records, done.others) == (3, 0, {"shop": 2, "desk": 2})
    await opened(green)
    mine = {saga_id for name, saga_id in ids.items() if name.startswith("green.shop")}
    assert set(await green.load(list(ids.values()))) == mine
    assert await waiting(green) == [f"c {name}" for name in ids if name.startswith("green.shop")]
    assert [len(await green.history(saga_id)) for saga_id in mine] == [1] * 4
    with pytest.raises(StoreMisconfigured, match="schema version 1"):
        await blue.open()
    assert await blue.schema_version() == 1
    assert ((await blue.upgrade()).others, await blue.schema_version()) == ({"desk": 2}, 3)
    await opened(blue)
    assert len((await blue.find()).records) == 2
    assert (await SqliteStore(path, "green.desk").upgrade()).others == {}
    with closing(sqlite3.connect(path)) as file:
        assert not file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%_1'").fetchall()


async def test_an_application_new_to_an_old_file_is_told_too(tmp_path: Path, opened: Opening) -> None:
    path = tmp_path / "sagas.db"
    old_file(path, ("green.shop", "k"))
    fresh = SqliteStore(path, "green.fresh")
    with pytest.raises(StoreMisconfigured, match="schema version 1"):
        await fresh.open()
    assert (await fresh.upgrade()).records == 0
    await opened(fresh)
    with pytest.raises(StoreMisconfigured, match=r"choros schema upgrade APP --store sqlite:///.*sagas\.db"):
        await SqliteStore(path, "green.shop").open()


async def test_an_old_process_that_still_runs_can_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sagas.db"
    old_file(path, ("green.shop", "k"))
    with closing(sqlite3.connect(path)) as old:
        await SqliteStore(path, "green.shop").upgrade()
        with pytest.raises(sqlite3.OperationalError, match="no such table: saga"):
            old.execute("UPDATE saga SET status = 'completed'")


async def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sagas.db"
    old_file(path, ("green.shop", "k"))
    with closing(sqlite3.connect(path)) as file:
        before = list(file.iterdump())
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_version_1, "_TAKE_OVER", (*sqlite_version_1._TAKE_OVER, "SELECT * FROM nothing"))
        with pytest.raises(StoreUnreachable):
            await SqliteStore(path, "green.shop").upgrade()
    with closing(sqlite3.connect(path)) as file:
        assert list(file.iterdump()) == before
    assert (await SqliteStore(path, "green.shop").upgrade()).records == 2


async def test_a_newer_file_is_said_to_be_newer(tmp_path: Path) -> None:
    path = tmp_path / "sagas.db"
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 4")
    store = SqliteStore(path)
    for doing in (store.open, store.upgrade):
        with pytest.raises(StoreMisconfigured, match="schema version 4; this choros knows version 3") as refused:
            await doing()
        assert "newer" in refused.value.hint


# --- Redis ------------------------------------------------------------------------------------------------------------


async def set_back(client: Any, prefix: str) -> None:
    """As the first schema had it: an outbox for each saga version, and no key that says which it is."""
    for number, (member, score) in enumerate(await client.zrange(f"{prefix}unsent:commands", 0, -1, withscores=True)):
        await client.zadd(f"{prefix}unsent:commands:order:{number % 2 + 1}", {member: score})
    await client.delete(f"{prefix}unsent:commands", f"{prefix}schema")


async def test_an_upgrade_of_redis_goes_on_where_it_was(
    redis_url: str, namespace: str, redis_client: Redis, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(RedisStore(redis_url, namespace))
    await stored(store, *(creation(f"s{n}", command(f"c{n}")) for n in range(4)))
    await set_back(redis_client, f"{{{namespace}}}:")
    again = RedisStore(redis_url, namespace)
    with pytest.raises(StoreMisconfigured, match=r"schema version 1.*choros schema upgrade APP --store redis"):
        await again.open()
    with monkeypatch.context() as patched:
        real = redis_schema._keys

        async def one_only(server: Any, start: str) -> list[str]:
            keys = await real(server, start)
            await server.run(redis_schema._MERGE, [redis_schema._MERGE.call([start[:-1], keys[0]])])
            raise StoreUnreachable("cut off")

        patched.setattr(redis_schema, "_keys", one_only)
        with pytest.raises(StoreUnreachable, match="cut off"):
            await again.upgrade()
    assert await again.schema_version() == 1
    done = await again.upgrade()
    assert (done.found, done.records) == (1, 4)
    await opened(again)
    assert await waiting(again) == ["c0", "c1", "c2", "c3"]
    assert (await again.load(["s2"]))["s2"].unsent == {"c2"}
    assert ((await again.upgrade()).found, await again.schema_version()) == (3, 3)


async def test_an_old_process_after_an_interrupted_upgrade_of_redis_hides_nothing_from_the_next(
    redis_url: str, namespace: str, redis_client: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(redis_url, namespace))
    await stored(store, *(creation(f"s{n}", command(f"c{n}")) for n in range(4)))
    prefix = f"{{{namespace}}}:"
    await redis_client.delete(f"{prefix}schema")
    for n in range(3):  # the old one sends them, and takes them out of the outboxes that it knows
        await redis_client.hdel(f"{prefix}outbox:s{n}", f"c{n}")
    await redis_client.hset(f"{prefix}live", "order:7", 5)
    await redis_client.delete(f"{prefix}saga:s3")  # and somebody has taken a record away
    again = RedisStore(redis_url, namespace)
    await again.upgrade()
    await opened(again)
    await again.unsent("commands", 1e12, 3)
    assert [entry.id for entry in await again.unsent("commands", 1e12, 3)] == ["c3"]
    assert [(kind.saga, count) for kind, count in (await again.live()).items()] == [("order", 3)]


async def test_a_newer_redis_is_said_to_be_newer(redis_url: str, namespace: str, redis_client: Redis) -> None:
    await redis_client.set(f"{{{namespace}}}:schema", "4")
    store = RedisStore(redis_url, namespace)
    for doing in (store.open, store.upgrade):
        with pytest.raises(StoreMisconfigured, match="schema version 4; this choros knows version 3"):
            await doing()
    await store.close()

"""Rows of older schemas of the barrier: refused until they are upgraded, then under the keys of now, growing old."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from choros.errors import StoreMisconfigured
from choros.runtime.subscriber.inbox import carried_over, inbox_key, log_key, reaction_key, stream_key
from choros.store.barrier import SCHEMA_VERSION, Database, Ok, Row
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.testing.conformance.barrier import a_row, row_of, unsent_keys, writing
from choros.testing.conformance.stage import fact
from choros.wire.command_key import CommandKey
from tests.store.conftest import Opening

FACT = fact(7, "s1")
DONE = a_row("s1:charge:1:do", "ok", "the reply")
OLD = [
    DONE,
    a_row("s1:hold:1:do", "refused", "the refusal", 9.5),
    a_row("s2:charge:1:do", "tombstone", "", 9.5),
    a_row("fact\x1f/shop/app\x1fs1\x1f7", "handled", "", 9.5),
    a_row("stream\x1f/shop/app\x1fs1", "mark", "7"),
    a_row("log\x1fshop.facts.mail", "mark", "5.0"),
    a_row("s1:shop.parcel:1:do", "ok"),
]
OLD_TABLE = """CREATE TABLE choros_barrier (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL, unsent INTEGER) WITHOUT ROWID;
CREATE INDEX choros_barrier_unsent ON choros_barrier (unsent) WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (prune_at) WHERE prune_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS mine (amount INTEGER);"""


def new(subscriber: str) -> list[Row]:
    """What those rows are now, in the database of this subscriber."""
    parcel = CommandKey("s1", "shop.parcel", 1, "do")
    return [
        *OLD[:3],
        a_row(inbox_key(subscriber, FACT), "handled"),
        a_row(stream_key(subscriber, FACT), "mark", "7"),
        a_row(log_key("shop.facts.mail"), "mark", "5.0"),
        a_row(reaction_key(subscriber, parcel), "ok"),
    ]


def old_file(path: Path, rows: list[Row]) -> None:
    """A file as the first schema had it, with the user's table beside it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OLD_TABLE)
        for row in rows:
            unsent = 4 if row is DONE else None
            values = (row.key, row.state, row.content, row.prune_at, unsent)
            connection.execute("INSERT INTO choros_barrier VALUES (?, ?, ?, ?, ?)", values)
        connection.execute("INSERT INTO mine VALUES (3)")


async def all_of(database: Database, rows: list[Row]) -> list[Row | None]:
    """Those of the facts without when they began to grow old: with the upgrade."""
    found = [await row_of(database, row.key) for row in rows]
    for row in found:
        assert row is None or (row.began is not None) == (row.state == "handled")
        assert row is None or row.began is None or time.time() - 60 < row.began == row.since <= time.time()
    return [row and replace(row, began=None, since=0.0) for row in found]


@pytest.mark.parametrize("rows", [OLD, OLD[:1], OLD[3:4]], ids=["all", "a command", "a fact"])
async def test_a_file_with_old_rows_is_refused_with_the_command_to_run(tmp_path: Path, rows: list[Row]) -> None:
    path = tmp_path / "shop.db"
    old_file(path, rows)
    for _ in range(2):
        with pytest.raises(StoreMisconfigured, match="schema version 1") as refused:
            await SqliteDatabase(path, "shop.mail").open()
        assert f"choros schema upgrade APP --database sqlite:///{path}" in str(refused.value)
    with closing(sqlite3.connect(path)) as connection:  # nothing has been touched
        assert connection.execute("SELECT count(*) FROM choros_barrier").fetchone() == (len(rows),)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'choros_schema'").fetchone() == (0,)
    assert await SqliteDatabase(path, "shop.mail").schema_version() == 1


async def test_an_old_file_without_rows_is_taken_as_new(tmp_path: Path, opened: Opening) -> None:
    old_file(tmp_path / "shop.db", [])
    database = await opened(SqliteDatabase(tmp_path / "shop.db", "shop.mail"))
    assert await database.schema_version() == SCHEMA_VERSION
    assert await SqliteDatabase(tmp_path / "none.db").schema_version() == 0
    assert not (tmp_path / "none.db").exists()


async def test_every_old_row_is_kept_under_the_key_of_now(tmp_path: Path, opened: Opening) -> None:
    old_file(tmp_path / "shop.db", OLD)
    upgrading = SqliteDatabase(tmp_path / "shop.db", "shop.mail")
    assert await upgrading.upgrade(partial(carried_over, "mail")) == len(OLD)
    assert await upgrading.upgrade(partial(carried_over, "mail")) == 0
    database = await opened(SqliteDatabase(tmp_path / "shop.db", "shop.mail"))
    assert await all_of(database, new("mail")) == new("mail")
    assert await unsent_keys(database) == [DONE.key]
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        assert connection.execute("SELECT amount FROM mine").fetchall() == [(3,)]


async def test_each_service_that_shared_a_file_gets_all_old_rows_and_is_refused_till_then(
    tmp_path: Path, opened: Opening
) -> None:
    """Nobody can tell whose they were: what either has heard counts as heard by both, as it did."""
    path = tmp_path / "shop.db"
    old_file(path, OLD)
    await SqliteDatabase(path, "shop.mail").upgrade(partial(carried_over, "mail"))
    mail = await opened(SqliteDatabase(path, "shop.mail"))
    with pytest.raises(StoreMisconfigured, match="schema version 1"):
        await SqliteDatabase(path, "shop.stats").open()
    assert await SqliteDatabase(path, "shop.stats").upgrade(partial(carried_over, "stats")) == len(OLD)
    stats = await opened(SqliteDatabase(path, "shop.stats"))
    assert await all_of(stats, new("stats")) == new("stats")
    assert await all_of(mail, new("mail")) == new("mail")


async def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def broken(row: Row) -> list[str]:
        if row.state == "mark":
            raise ValueError("in the middle")
        return [row.key]

    old_file(tmp_path / "shop.db", OLD)
    database = SqliteDatabase(tmp_path / "shop.db", "shop.mail")
    with pytest.raises(ValueError, match="in the middle"):
        await database.upgrade(broken)
    assert await database.schema_version() == 1


@pytest.mark.parametrize("version", [4, 12])
async def test_a_newer_file_is_left_to_a_newer_choros(tmp_path: Path, opened: Opening, version: int) -> None:
    await opened(SqliteDatabase(tmp_path / "shop.db", "shop.mail"))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("UPDATE choros_schema SET version = ?", (version,))
    again = SqliteDatabase(tmp_path / "shop.db", "shop.mail")
    for doing in (again.open(), again.upgrade(partial(carried_over, "mail"))):
        with pytest.raises(StoreMisconfigured, match=f"schema version {version}"):
            await doing


def test_what_was_carried_over_stays_where_it_is() -> None:
    """An upgrade that was interrupted goes over its own work again."""
    for row in new("mail"):
        assert row.key in carried_over("mail", row)
        assert set(carried_over("mail", row)) <= {row.key, reaction_key("mail", CommandKey("s2", "charge", 1, "do"))}


OLD_TABLES_2 = """CREATE TABLE choros_barrier (
    namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
    unsent INTEGER, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
CREATE INDEX choros_barrier_unsent ON choros_barrier (namespace, unsent) WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (namespace, prune_at) WHERE prune_at IS NOT NULL;
CREATE TABLE choros_schema (namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO choros_schema VALUES ('shop.mail', 2), ('shop.stats', 2);"""
WRITE_2 = "INSERT INTO choros_barrier (namespace, key, state, reply, prune_at, unsent) VALUES (?, ?, ?, ?, ?, ?)"


def second_file(path: Path) -> None:
    """A file as the second schema had it, with rows of two services."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OLD_TABLES_2)
        for name in ("mail", "stats"):
            for row in [*OLD[:3], *new(name)[3:]]:
                prune_at = 9.5 if row.state == "handled" else row.prune_at
                values = (f"shop.{name}", row.key, row.state, row.content, prune_at, 4 if row is DONE else None)
                connection.execute(WRITE_2, values)


async def test_a_file_of_the_second_schema_is_upgraded_service_by_service(tmp_path: Path, opened: Opening) -> None:
    path = tmp_path / "shop.db"
    second_file(path)
    with pytest.raises(StoreMisconfigured, match="schema version 2"):
        await SqliteDatabase(path, "shop.mail").open()
    assert await SqliteDatabase(path, "shop.mail").upgrade(partial(carried_over, "mail")) == len(OLD)
    assert await SqliteDatabase(path, "shop.mail").upgrade(partial(carried_over, "mail")) == 0
    mail = await opened(SqliteDatabase(path, "shop.mail"))
    assert await all_of(mail, new("mail")) == new("mail")
    assert await unsent_keys(mail) == [DONE.key]
    assert await mail.forget("commands", time.time() + 1) == 0  # who knows when their sagas began
    assert await mail.forget("facts", time.time() + 1) == 1
    assert await SqliteDatabase(path, "shop.stats").schema_version() == 2
    with closing(sqlite3.connect(path)) as connection, connection:  # a process of the older choros goes on
        connection.execute(WRITE_2, ("shop.stats", "s9:charge:1:do", "ok", "", None, None))
    assert await SqliteDatabase(path, "shop.stats").upgrade(partial(carried_over, "stats")) == len(OLD) + 1
    stats = await opened(SqliteDatabase(path, "shop.stats"))
    assert await all_of(stats, new("stats")) == new("stats")


async def test_a_new_service_may_come_into_a_file_of_the_second_schema(tmp_path: Path, opened: Opening) -> None:
    second_file(tmp_path / "shop.db")
    late = await opened(SqliteDatabase(tmp_path / "shop.db", "shop.late"))
    await late.run([writing(DONE)])
    assert await row_of(late, DONE.key) == DONE
    assert await SqliteDatabase(tmp_path / "shop.db", "shop.mail").schema_version() == 2


# --- Redis ------------------------------------------------------------------------------------------------------------

Filling = Callable[[list[Row]], Awaitable[None]]


@pytest.fixture
async def fill(redis_client: Redis, redis_url: str, namespace: str) -> Filling:
    """Writes rows as the first schema had them."""

    async def fill(rows: list[Row]) -> None:
        database = RedisDatabase(redis_url, f"{namespace}.mail")
        await database.open()

        async def write(tx) -> None:  # type: ignore[no-untyped-def] # the rows are written as ever; only keys differ
            for row in rows:
                await tx.write_row(row)

        assert await database.run([write]) == [Ok(None)]
        await database.mark_sent([row.key for row in rows if row is not DONE])
        await database.close()
        await redis_client.delete(f"{{{namespace}.mail}}:barrier:schema")

    return fill


@pytest.mark.servers
@pytest.mark.parametrize("rows", [OLD, OLD[:1], OLD[4:5]], ids=["all", "a command", "a mark"])
async def test_old_rows_in_redis_are_refused(fill: Filling, redis_url: str, namespace: str, rows: list[Row]) -> None:
    await fill(rows)
    database = RedisDatabase(redis_url, f"{namespace}.mail")
    with pytest.raises(StoreMisconfigured, match="schema version 1"):
        await database.open()
    assert await database.schema_version() == 1
    await database.close()


@pytest.mark.servers
async def test_old_rows_in_redis_are_kept_under_the_keys_of_now(
    fill: Filling, redis_url: str, namespace: str, opened: Opening
) -> None:
    await fill(OLD)
    upgrading = RedisDatabase(redis_url, f"{namespace}.mail")
    assert await upgrading.upgrade(partial(carried_over, "mail")) > 0
    assert await upgrading.upgrade(partial(carried_over, "mail")) == 0
    await upgrading.close()
    database = await opened(RedisDatabase(redis_url, f"{namespace}.mail"))
    assert await all_of(database, new("mail")) == new("mail")
    assert await all_of(database, OLD[3:5]) == [None, None]
    assert await unsent_keys(database) == [DONE.key]
    assert await database.prune(9.5) == 3  # refusal, tombstone, what that became as a reaction's
    assert await database.forget("facts", time.time() + 1) == 1


@pytest.mark.servers
async def test_rows_of_the_second_schema_in_redis_grow_old_from_the_upgrade_on(
    fill: Filling, redis_url: str, namespace: str, redis_client: Redis, opened: Opening
) -> None:
    name = f"{namespace}.mail"
    prefix = f"{{{name}}}:barrier:"
    await fill([*OLD[:3], *new("mail")[3:]])
    await redis_client.set(f"{prefix}schema", 2)
    await redis_client.zadd(f"{prefix}prune", {inbox_key("mail", FACT): 9.5})
    await redis_client.set(f"{prefix}row:s9:charge:1:do", "no JSON")
    upgrading = RedisDatabase(redis_url, name)
    with pytest.raises(StoreMisconfigured, match="schema version 2"):
        await upgrading.open()
    assert await upgrading.upgrade(partial(carried_over, "mail")) == len(OLD) + 1
    assert await upgrading.upgrade(partial(carried_over, "mail")) == 0
    await upgrading.close()
    database = await opened(RedisDatabase(redis_url, name))
    assert await all_of(database, new("mail")) == new("mail")
    assert await unsent_keys(database) == [DONE.key]
    assert await database.prune(9.5) == 2
    assert await database.forget("commands", time.time() + 1) == 0
    assert await database.forget("facts", time.time() + 1) == 1
    assert await redis_client.get(f"{prefix}row:s9:charge:1:do") == b"no JSON"


@pytest.mark.servers
async def test_an_upgrade_of_redis_may_be_interrupted_and_done_again(
    fill: Filling, redis_url: str, namespace: str, opened: Opening
) -> None:
    await fill(OLD)
    seen: list[str] = []

    def tired(row: Row) -> list[str]:
        seen.append(row.key)
        if len(seen) == 4:
            raise asyncio.CancelledError
        return carried_over("mail", row)

    upgrading = RedisDatabase(redis_url, f"{namespace}.mail")
    with pytest.raises(asyncio.CancelledError):
        await upgrading.upgrade(tired)
    assert await upgrading.schema_version() == 1
    await upgrading.upgrade(partial(carried_over, "mail"))
    await upgrading.close()
    database = await opened(RedisDatabase(redis_url, f"{namespace}.mail"))
    assert await all_of(database, new("mail")) == new("mail")


@pytest.mark.servers
async def test_a_row_that_nobody_can_read_stops_no_upgrade_of_redis(
    fill: Filling, redis_url: str, namespace: str, redis_client: Redis, opened: Opening
) -> None:
    await fill(OLD)
    row = f"{{{namespace}.mail}}:barrier:row:"
    await redis_client.set(f"{row}s9:charge:1:do", "no JSON")
    await redis_client.set(f"{row}fact\x1f/shop/app\x1fs9\x1f1", '["handled"]')
    upgrading = RedisDatabase(redis_url, f"{namespace}.mail")
    await upgrading.upgrade(partial(carried_over, "mail"))
    await upgrading.close()
    database = await opened(RedisDatabase(redis_url, f"{namespace}.mail"))
    assert await all_of(database, new("mail")) == new("mail")
    assert await redis_client.get(f"{row}s9:charge:1:do") == b"no JSON"
    assert await redis_client.get(f"{row}{inbox_key('mail', fact(1, 's9'))}") == b'["handled"]'


@pytest.mark.servers
async def test_other_namespaces_in_redis_are_not_looked_at(
    fill: Filling, redis_url: str, namespace: str, opened: Opening
) -> None:
    await fill(OLD)
    for name in ("stats", "mai?", "[m]ail", "*"):
        assert await (await opened(RedisDatabase(redis_url, f"{namespace}.{name}"))).schema_version() == SCHEMA_VERSION

"""Rows of the barrier's first schema: refused until they are upgraded, then under the keys of this one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from choros.errors import StoreMisconfigured
from choros.keys import CommandKey
from choros.runtime.inbox import carried_over, inbox_key, log_key, reaction_key, stream_key
from choros.store.barrier import Database, Row
from choros.store.barrier_redis import RedisDatabase
from choros.store.barrier_sqlite import SqliteDatabase
from choros.testing.barrier import a_row, row_of, unsent_keys
from choros.testing.stage import fact
from tests.store.conftest import Opening

FACT = fact(7, "s1")
DONE = a_row("s1:charge:1:do", "ok", "the reply")
OLD = [
    DONE,
    a_row("s1:hold:1:do", "refused", "the refusal", 9.5),
    a_row("s2:charge:1:do", "tombstone", "", 9.5),
    a_row("fact\x1f/shop/order\x1fs1\x1f7", "handled", "", 9.5),
    a_row("stream\x1f/shop/order\x1fs1", "mark", "7"),
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
        a_row(inbox_key(subscriber, FACT), "handled", "", 9.5),
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
            values = (row.key, row.state, row.reply, row.prune_at, unsent)
            connection.execute("INSERT INTO choros_barrier VALUES (?, ?, ?, ?, ?)", values)
        connection.execute("INSERT INTO mine VALUES (3)")


async def all_of(database: Database, rows: list[Row]) -> list[Row | None]:
    return [await row_of(database, row.key) for row in rows]


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
    assert await database.schema_version() == 2
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


@pytest.mark.parametrize("version", [3, 12])
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

        assert await database.run([write]) == [None]
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
    assert await database.prune(9.5) == 4  # refusal, tombstone, what it became as a reaction's, and the fact


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
    await redis_client.set(f"{row}fact\x1f/shop/order\x1fs9\x1f1", '["handled"]')
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
        assert await (await opened(RedisDatabase(redis_url, f"{namespace}.{name}"))).schema_version() == 2

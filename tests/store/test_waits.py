"""A bound on every wait for a store: a server that says nothing more, a file that another process does not let go."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from choros.errors import StoreUnreachable
from choros.store.barrier import Row, Transaction, value_of
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Kind
from choros.store.sqlite import file as sqlite_file
from choros.store.sqlite import waiting
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import creation
from tests.patience import LATE
from tests.transport.black_hole import BlackHole, black_hole

KNOWN = [Kind("order", 1)]
PATIENCE = 0.5
BOUND = 4.0 + LATE
"""Seconds: the pool's wait for a connection (four times the patience), one answer, and air for a busy machine."""
Ask = Callable[[Any], Awaitable[object]]

STORE_ASKS: dict[str, Ask] = {
    "load": lambda store: store.load(["s1"]),
    "commit": lambda store: store.commit([creation()]),
    "mark sent": lambda store: store.mark_sent([("s1", "e1")]),
    "unsent": lambda store: store.unsent("commands", 1e10, 10),
    "due": lambda store: store.due(1e10, KNOWN, 10),
    "find": lambda store: store.find(),
    "counts": lambda store: store.counts(),
    "live": lambda store: store.live(),
    "history": lambda store: store.history("s1"),
}


async def write_a_row(transaction: Transaction) -> None:
    await transaction.read_row("k")
    await transaction.write_row(Row(key="k", state="ok"))


async def run(database: Any) -> object:
    answer = value_of(*await database.run([write_a_row]))
    if isinstance(answer, BaseException):
        raise answer
    return answer


DATABASE_ASKS: dict[str, Ask] = {
    "run": run,
    "unsent": lambda database: database.unsent(10),
    "mark sent": lambda database: database.mark_sent(["k"]),
    "prune": lambda database: database.prune(1e10),
}


@pytest.fixture
async def hole(redis_url: str) -> AsyncIterator[tuple[BlackHole, str]]:
    """A black hole before Redis, and its address."""
    async with black_hole(redis_url) as both:
        yield both


async def within_the_bound(asking: Awaitable[object]) -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnreachable):
        await asking
    assert time.monotonic() - started < BOUND


async def close_in_time(one: Any) -> None:
    started = time.monotonic()
    await one.close()
    assert time.monotonic() - started < BOUND


@pytest.mark.parametrize("made", [RedisStore, RedisDatabase])
async def test_opening_a_silent_redis_fails_in_time(
    hole: tuple[BlackHole, str], namespace: str, made: type[RedisStore] | type[RedisDatabase]
) -> None:
    hole[0].everywhere = True
    one = made(hole[1], namespace, timeout=PATIENCE)
    await within_the_bound(one.open())
    await close_in_time(one)


@pytest.mark.parametrize("ask", STORE_ASKS.values(), ids=STORE_ASKS)
async def test_asking_a_silent_redis_store_fails_in_time(hole: tuple[BlackHole, str], namespace: str, ask: Ask) -> None:
    store = RedisStore(hole[1], namespace, timeout=PATIENCE)
    await store.open()
    hole[0].everywhere = True
    await within_the_bound(ask(store))
    await close_in_time(store)


@pytest.mark.parametrize("ask", DATABASE_ASKS.values(), ids=DATABASE_ASKS)
async def test_asking_a_silent_redis_database_fails_in_time(
    hole: tuple[BlackHole, str], namespace: str, ask: Ask
) -> None:
    database = RedisDatabase(hole[1], namespace, timeout=PATIENCE)
    await database.open()
    hole[0].everywhere = True
    await within_the_bound(ask(database))
    await close_in_time(database)


async def test_many_that_ask_a_silent_redis_at_once_all_fail_in_time(
    hole: tuple[BlackHole, str], namespace: str
) -> None:
    """More than there are connections: whoever waits for one is bounded as well."""
    store = RedisStore(hole[1], namespace, connections=2, timeout=PATIENCE)
    await store.open()
    hole[0].everywhere = True
    started = time.monotonic()
    asking = [store.load([f"s{n}"]) for n in range(20)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnreachable}
    assert time.monotonic() - started < 3 * BOUND
    await close_in_time(store)


# --- SQLite -----------------------------------------------------------------------------------------------------------


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process, as far as SQLite can tell, holds the write lock."""
    let_go, has_it = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        has_it.set()
        let_go.wait(30)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait(10)
    try:
        yield
    finally:
        let_go.set()
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite_file, waiting):
        monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_commit_into_a_locked_file_fails_in_time_and_works_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sagas.db")
    await store.open()
    with held(tmp_path / "sagas.db"):
        await within_the_bound(store.commit([creation()]))
        assert await store.load(["s1"]) == {}  # reading goes on
    assert await store.commit([creation()])
    await close_in_time(store)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_closing_a_locked_file_ends_in_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sagas.db")
    await store.open()
    with held(tmp_path / "sagas.db"):
        await store.mark_sent([("s1", "e1")])
        await close_in_time(store)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_an_effect_into_a_locked_file_fails_in_time_and_works_again(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "service.db")
    await database.open()
    with held(tmp_path / "service.db"):
        await within_the_bound(run(database))
    await run(database)
    await close_in_time(database)

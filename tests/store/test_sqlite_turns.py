"""Turns on a SQLite file: they share commits, and a slow one keeps nobody before it from theirs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from choros.errors import Refused, StoreUnreachable, UsageError
from choros.store.barrier import Job, Row, Transaction, value_of
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.transaction import SqliteTransaction
from choros.store.sqlite.turns import FileTurn, Slow
from tests.patience import PATIENCE
from tests.store.conftest import came_to


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "shop.db")
    await database.open()
    await database.run([_prepare])
    yield database
    await database.close()


async def _prepare(db: Transaction) -> None:
    assert isinstance(db, SqliteTransaction)
    await db.execute("CREATE TABLE stock (name TEXT PRIMARY KEY, amount INTEGER CHECK (amount >= 0))")


def adding(name: str) -> Job[Any]:
    async def add(db: Transaction) -> str:
        assert isinstance(db, SqliteTransaction)
        await db.write_row(Row(key=name, state="ok"))
        await db.execute("INSERT INTO stock VALUES (?, 1)", (name,))
        return name

    return add


class Sleeper:
    """A handler that uses all that a transaction offers, and waits in between."""

    def __init__(self, *, savepoint: bool = False) -> None:
        self.runs, self.asleep, self.wake = 0, asyncio.Event(), asyncio.Event()
        self.seen: list[object] = []
        self.savepoint = savepoint

    async def __call__(self, db: Transaction) -> str:
        assert isinstance(db, SqliteTransaction)
        self.runs += 1
        self.seen = [await db.read_row("slow"), await db.fetchone("SELECT count(*) FROM stock WHERE name = 'slow'")]
        await db.write_row(Row(key="slow", state="running"))
        if self.savepoint:
            with suppress(Refused):
                async with db.savepoint():
                    await self._work(db)
                    raise Refused("no")
            await db.execute("INSERT INTO stock VALUES ('after', 1)")
        else:
            await self._work(db)
        await db.write_row(Row(key="slow", state="ok"))
        return "slow"

    async def _work(self, db: SqliteTransaction) -> None:
        await db.execute("INSERT INTO stock VALUES (:name, :amount)", {"name": "slow", "amount": 5})
        with pytest.raises(sqlite3.IntegrityError):
            await db.execute("UPDATE stock SET amount = -1 WHERE name = 'slow'")
        self.asleep.set()
        await self.wake.wait()
        assert await db.fetch("SELECT amount FROM stock WHERE name = 'slow'") == [(5,)]
        await db.execute("UPDATE stock SET amount = 7 WHERE name = 'slow'")


def outside(database: SqliteDatabase) -> dict[str, int]:
    """What is committed, as another process sees it."""
    connection = sqlite3.connect(database.path)
    try:
        return dict(connection.execute("SELECT name, amount FROM stock"))
    finally:
        connection.close()


async def behind_others(database: SqliteDatabase, slow: Job[Any], others: int = 3) -> list[asyncio.Task[object]]:
    """The others, and the slow one behind them, in one group."""
    jobs = [*(adding(f"o{n}") for n in range(others)), slow]
    return [asyncio.ensure_future(_one(database, job)) for job in jobs]


async def _one(database: SqliteDatabase, job: Job[Any]) -> object:
    (result,) = await database.run([job])
    return came_to(result)


async def test_those_that_wait_share_a_commit(database: SqliteDatabase) -> None:
    said: list[str] = []
    database._checked_open().set_trace_callback(said.append)
    answers = await asyncio.gather(*(_one(database, adding(str(n))) for n in range(20)))
    assert answers == [str(n) for n in range(20)]
    assert sum(one == "COMMIT" for one in said) == 1


@pytest.mark.parametrize("savepoint", [False, True])
async def test_those_before_a_slow_one_are_committed_and_it_does_not_notice(
    database: SqliteDatabase, savepoint: bool
) -> None:
    slow = Sleeper(savepoint=savepoint)
    *others, last = await behind_others(database, slow)
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*others) == ["o0", "o1", "o2"]
    assert outside(database) == {"o0": 1, "o1": 1, "o2": 1}
    slow.wake.set()
    assert (await last, slow.runs, slow.seen) == ("slow", 1, [None, (0,)])
    assert outside(database) == {"o0": 1, "o1": 1, "o2": 1} | ({"after": 1} if savepoint else {"slow": 7})


async def test_what_another_process_has_written_in_between_makes_it_run_again(database: SqliteDatabase) -> None:
    slow, other = Sleeper(), sqlite3.connect(database.path, isolation_level=None, timeout=PATIENCE)
    begin = database.begin

    async def late() -> None:
        if slow.asleep.is_set():
            other.execute("INSERT INTO stock VALUES ('slow', 9)")
        await begin()

    database.begin = late  # type: ignore[method-assign]
    *others, last = await behind_others(database, slow)
    await asyncio.gather(*others)
    slow.wake.set()
    assert isinstance(await last, StoreUnreachable)  # whoever asked does so again
    assert outside(database)["slow"] == 9
    other.close()


async def test_one_that_ends_while_another_process_writes_what_it_has_read_fails(database: SqliteDatabase) -> None:
    other, moved = sqlite3.connect(database.path, isolation_level=None, timeout=PATIENCE), asyncio.Event()
    begin, begun = database.begin, 0

    async def late() -> None:
        nonlocal begun
        begun += 1
        if begun == 2:  # it is being moved
            other.execute("INSERT INTO stock VALUES ('slow', 9)")
            moved.set()
            await asyncio.sleep(0)
        await begin()

    async def slow(db: Transaction) -> str:
        assert isinstance(db, SqliteTransaction)
        await db.write_row(Row(key="before", state="ok"))
        assert await db.fetchone("SELECT amount FROM stock WHERE name = 'slow'") is None
        await db.write_row(Row(key="after", state="ok"))
        await moved.wait()
        return "done"

    database.begin = late  # type: ignore[method-assign]
    first, last = await asyncio.gather(*await behind_others(database, slow, others=1))
    assert first == "o0"
    assert isinstance(last, StoreUnreachable)  # half of its rows would have been committed under an answer
    rows = value_of(*await database.run([_rows_of_the_slow_one]))
    assert rows == [None, None]
    other.close()


async def _rows_of_the_slow_one(db: Transaction) -> list[Row | None]:
    return [await db.read_row("before"), await db.read_row("after")]


async def test_one_that_is_found_slow_as_it_ends_takes_nothing_from_who_comes_next(database: SqliteDatabase) -> None:
    async def ends(db: Transaction) -> str:
        await db.write_row(Row(key="ends", state="ok"))
        database._turns._look(database._turns._now)
        return "ends"

    assert await asyncio.gather(*await behind_others(database, ends)) == ["o0", "o1", "o2", "ends"]
    slow = Sleeper()
    other, last = [asyncio.ensure_future(_one(database, job)) for job in (adding("next"), slow)]
    async with asyncio.timeout(PATIENCE):
        assert await other == "next"
    slow.wake.set()
    assert await last == "slow"


async def test_a_slow_one_whose_statement_has_rolled_all_back_holds_nobody(database: SqliteDatabase) -> None:
    move, found = database._turns._move, asyncio.Event()

    async def finding(turn: FileTurn, slow: Slow) -> None:
        found.set()
        await move(turn, slow)

    async def bad(db: Transaction) -> None:
        assert isinstance(db, SqliteTransaction)
        with suppress(sqlite3.IntegrityError):
            await db.execute("INSERT OR ROLLBACK INTO stock VALUES ('minus', -1)")
        await found.wait()

    database._turns._move = finding  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE):
        first, wrong = await asyncio.gather(*await behind_others(database, bad, others=1))
        assert await _one(database, adding("next")) == "next"
    assert isinstance(first, StoreUnreachable)
    assert isinstance(wrong, UsageError)


async def test_a_slow_one_that_is_cancelled_leaves_nothing(database: SqliteDatabase) -> None:
    for before in (False, True):  # it is moved, or not yet
        slow = Sleeper()
        *others, last = await behind_others(database, slow, others=0 if before else 2)
        await slow.asleep.wait()
        if not before:
            await asyncio.gather(*others)
        last.cancel()
        await asyncio.wait({last})
        assert "slow" not in outside(database)
    assert await _one(database, adding("next")) == "next"


@pytest.mark.slow
async def test_one_that_is_cancelled_amid_being_moved_leaves_nothing_and_holds_nobody(database: SqliteDatabase) -> None:
    for rounds in range(12):
        slow = Sleeper()
        jobs: list[Job[Any]] = [adding(f"{rounds}-0"), adding(f"{rounds}-1"), slow, adding(f"{rounds}-behind")]
        tasks = [asyncio.ensure_future(_one(database, job)) for job in jobs]
        await slow.asleep.wait()
        await asyncio.sleep(0.045 + rounds * 0.002)
        tasks[2].cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait(tasks)
        assert {f"{rounds}-0", f"{rounds}-1", f"{rounds}-behind"} <= outside(database).keys()
        assert "slow" not in outside(database)


async def test_a_statement_that_rolls_all_back_costs_only_its_own_job(database: SqliteDatabase) -> None:
    async def bad(db: Transaction) -> None:
        assert isinstance(db, SqliteTransaction)
        await db.execute("INSERT OR ROLLBACK INTO stock VALUES ('minus', -1)")

    first, wrong, later = await asyncio.gather(*(_one(database, job) for job in (adding("a"), bad, adding("b"))))
    assert isinstance(first, StoreUnreachable)  # it is asked for again
    assert isinstance(wrong, UsageError)
    assert (later, await _one(database, adding("a"))) == ("b", "a")
    assert outside(database) == {"a": 1, "b": 1}

"""What a participant's SQLite file is told: no more than is needed, and all or nothing of what a job wrote."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from choros.errors import Refused, StoreUnreachable
from choros.store.barrier import Job, JobResult, NotDone, Ok, Raised, Row, Transaction, value_of
from choros.store.sqlite import barrier_schema
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.savepoints import Savepoints
from choros.store.sqlite.transaction import SqliteTransaction
from choros.testing.conformance.barrier import a_row, row_of, unsent_keys, writing

SPOILT = "\ud800"
"""Text that SQLite cannot take."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "shop.db")
    await database.open()
    await database.run([_prepare])
    yield database
    await database.close()


async def _prepare(db: Transaction) -> None:
    assert isinstance(db, SqliteTransaction)
    await db.execute("CREATE TABLE stock (name TEXT PRIMARY KEY)")


def carrying_out(key: str, *effects: str, refused: bool = False) -> Job[None]:
    """What a command does: these effects, which its refusal takes back."""

    async def job(db: Transaction) -> None:
        assert isinstance(db, SqliteTransaction)
        assert await db.read_row(key) is None
        await db.horizon("commands")
        await db.write_row(Row(key=key, state="running"))
        with suppress(Refused):
            async with db.savepoint():
                for effect in effects:
                    await db.execute("INSERT INTO stock VALUES (?)", (effect,))
                if refused:
                    raise Refused("no")
        await db.write_row(Row(key=key, state="refused" if refused else "ok", content="the reply"))

    return job


async def told(database: SqliteDatabase, *jobs: Job[None]) -> list[str]:
    """The first words of what jobs that come at the same moment say between them."""
    said: list[str] = []
    database._checked_open().set_trace_callback(lambda sql: said.append(" ".join(sql.split()[:2])))
    for (result,) in await asyncio.gather(*(database.run([job]) for job in jobs)):
        value_of(result)
    database._checked_open().set_trace_callback(None)
    return [one for one in said if not one.startswith(("PRAGMA", "--"))]


READ, ROW, EFFECT = "SELECT key,", "INSERT INTO", "INSERT INTO"
HORIZON = "SELECT at"
OPENED, RELEASED, TAKEN_BACK = "SAVEPOINT choros_0", "RELEASE choros_0", "ROLLBACK TO"


async def test_a_command_reads_its_row_and_writes_it_once(database: SqliteDatabase) -> None:
    both = await told(database, carrying_out("a"), carrying_out("b"))
    assert both == ["BEGIN IMMEDIATE", READ, HORIZON, ROW, READ, ROW, "COMMIT"]


async def test_effects_lie_behind_one_savepoint(database: SqliteDatabase) -> None:
    assert await told(database, carrying_out("a", "lamp")) == [
        "BEGIN IMMEDIATE", READ, HORIZON, OPENED, EFFECT, ROW, RELEASED, "COMMIT",
    ]  # fmt: skip
    assert await told(database, carrying_out("b", "sofa", refused=True)) == [
        "BEGIN IMMEDIATE", READ, HORIZON, OPENED, EFFECT, TAKEN_BACK, ROW, RELEASED, "COMMIT",
    ]  # fmt: skip
    assert database._checked_open().execute("SELECT name FROM stock").fetchall() == [("lamp",)]


@pytest.mark.parametrize("rows", [[a_row("good"), a_row("bad", reply=SPOILT)], [a_row("bad", reply=SPOILT)]])
async def test_of_rows_that_cannot_all_be_written_none_is(database: SqliteDatabase, rows: Sequence[Row]) -> None:
    async def job(db: Transaction) -> None:
        for row in rows:
            await db.write_row(row)

    results: Sequence[JobResult[None]] = await database.run([carrying_out("a"), job, carrying_out("b")])
    assert [type(one) for one in results] == [Ok, Raised, Ok]
    found = [await row_of(database, key) for key in ("a", "good", "bad", "b")]
    assert [row is None for row in found] == [False, True, True, False]


async def test_a_row_written_in_a_savepoint_is_taken_back_with_it(database: SqliteDatabase) -> None:
    async def job(db: Transaction) -> Row | None:
        await db.write_row(a_row("k", "running"))
        with suppress(Refused):
            async with db.savepoint():
                await db.write_row(a_row("k", "ok"))
                raise Refused("no")
        return await db.read_row("k")

    assert list(await database.run([job])) == [Ok(a_row("k", "running"))]
    assert await row_of(database, "k") == a_row("k", "running")


async def test_a_horizon_that_moves_while_a_job_waits_makes_it_run_again(database: SqliteDatabase) -> None:
    """It was told what somebody before it had read in that transaction."""
    asleep, wake, moved = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begin, other = database.begin, sqlite3.connect(database.path, isolation_level=None)

    async def sleeps(db: Transaction) -> float:
        horizon = await db.horizon("commands")
        asleep.set()
        await wake.wait()
        return horizon

    async def late() -> None:
        if asleep.is_set():
            other.execute("INSERT INTO choros_horizon VALUES ('choros', 'commands', 7)")
            moved.set()
        await begin()

    database.begin = late  # type: ignore[method-assign]
    first, slow = (asyncio.ensure_future(database.run([job])) for job in (carrying_out("a"), sleeps))
    await moved.wait()
    wake.set()
    assert list(await first) == [Ok(None)]
    (result,) = await slow
    assert isinstance(result, NotDone)
    assert isinstance(result.why, StoreUnreachable)
    other.close()


async def test_a_file_that_was_laid_out_before_is_used_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as connection:
        for statement in barrier_schema._TABLES:
            connection.execute(
                statement.replace("PRIMARY KEY (namespace, key))", "PRIMARY KEY (namespace, key)) WITHOUT ROWID")
            )
    connection.close()
    database = SqliteDatabase(tmp_path / "old.db")
    await database.open()
    await database.run([writing(a_row("a", reply="owed"), a_row("b", "refused", "r", 1.0))])
    await database.mark_sent(["b"])
    assert (await unsent_keys(database), await database.prune(2.0)) == (["a"], 1)
    await database.close()


# --- savepoints -------------------------------------------------------------------------------------------------------


def test_savepoints_that_begin_at_one_point_are_one() -> None:
    savepoints = Savepoints()
    savepoints.begin()
    savepoints.begin()
    assert savepoints.learnt() == ("SAVEPOINT choros_0",)
    assert savepoints.learnt() == ()
    assert savepoints.end(kept=False) == ("ROLLBACK TO choros_0",)
    assert savepoints.end(kept=True) == ()
    savepoints.begin()
    assert savepoints.learnt() == ("SAVEPOINT choros_1",)
    assert savepoints.end(kept=False) == ("ROLLBACK TO choros_1", "RELEASE choros_1")
    assert savepoints.taken_back() == ("ROLLBACK TO choros_0", "RELEASE choros_0")
    assert savepoints.end_all(kept=True) == ("RELEASE choros_0",)


def test_savepoints_of_which_nobody_learns_cost_nothing() -> None:
    savepoints = Savepoints()
    savepoints.begin()
    assert (*savepoints.end(kept=False), *savepoints.taken_back(), *savepoints.end_all(kept=False)) == ()

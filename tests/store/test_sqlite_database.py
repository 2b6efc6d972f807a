"""What only a participant's SQLite file can do wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.transaction import SqliteTransaction
from choros.testing.conformance.barrier import a_row, row_of, unsent_keys, writing
from tests.store.conftest import Opening, came_to, eventually


async def run(database: SqliteDatabase, *jobs: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """What jobs that want a SqliteTransaction have come to, or have failed with."""
    return [came_to(result) for result in await database.run(jobs)]


@pytest.fixture
async def database(tmp_path: Path, opened: Opening) -> SqliteDatabase:
    database: SqliteDatabase = await opened(SqliteDatabase(tmp_path / "shop.db"))

    async def job(tx: SqliteTransaction) -> None:
        await tx.execute("CREATE TABLE stock (sku TEXT PRIMARY KEY, amount INTEGER CHECK (amount >= 0))")
        await tx.execute("INSERT INTO stock VALUES ('lamp', 3), ('sofa', 1)")

    assert await run(database, job) == [None]
    return database


async def test_handlers_read_and_write_their_own_tables(database: SqliteDatabase) -> None:
    async def job(tx: SqliteTransaction) -> list[object]:
        changed = await tx.execute("UPDATE stock SET amount = amount - :n WHERE sku = :sku", {"n": 1, "sku": "lamp"})
        rows = await tx.fetch("SELECT sku, amount FROM stock ORDER BY sku")
        return [changed, rows, await tx.fetchone("SELECT amount FROM stock WHERE sku = ?", ("chair",))]

    assert await run(database, job) == [[1, [("lamp", 2), ("sofa", 1)], None]]


async def test_one_statement_is_said_for_each_of_several_rows(database: SqliteDatabase) -> None:
    async def job(tx: SqliteTransaction) -> list[object]:
        more = ((sku, amount) for sku, amount in (("rug", 4), ("bed", 5)))
        return [
            await tx.executemany("INSERT INTO stock VALUES (?, ?)", more),
            await tx.executemany("DELETE FROM stock", []),
            await tx.fetch("SELECT sku, amount FROM stock ORDER BY sku"),
        ]  # fmt: skip

    assert await run(database, job) == [[2, 0, [("bed", 5), ("lamp", 3), ("rug", 4), ("sofa", 1)]]]


async def test_of_a_batch_all_rows_are_read_and_written_in_one_statement_each(database: SqliteDatabase) -> None:
    said: list[str] = []

    async def job(tx: SqliteTransaction) -> list[str | None]:
        for key in "ab":
            await tx.write_row(a_row(key))
        found = await tx.read_rows(["b", "c", "a"])
        return [row.key if row else None for row in found]

    assert await run(database, writing(a_row("c"))) == [None]
    database._checked_open().set_trace_callback(said.append)
    assert await run(database, job) == [["b", "c", "a"]]
    database._checked_open().set_trace_callback(None)
    assert len([one for one in said if one.startswith("SELECT key")]) == 1


async def test_errors_of_statements_are_the_handlers_own(database: SqliteDatabase) -> None:
    async def job(tx: SqliteTransaction) -> None:
        await tx.execute("UPDATE stock SET amount = -1")

    answers = await run(database, job, writing(a_row("k1")))
    assert isinstance(answers[0], sqlite3.IntegrityError)
    assert await row_of(database, "k1") is not None


BEHIND_COMMENTS = ["/* ; */ COMMIT", "-- x\n--\n\ufeffRELEASE choros_job"]


@pytest.mark.parametrize(
    "statement", ["COMMIT", " rollback", "BEGIN", "End transaction", "SAVEPOINT x", *BEHIND_COMMENTS]
)
async def test_a_handler_cannot_end_the_transaction(database: SqliteDatabase, statement: str) -> None:
    async def job(tx: SqliteTransaction) -> None:
        await tx.execute(statement)

    (answer,) = await run(database, job)
    assert isinstance(answer, UsageError)


async def test_what_the_database_has_answered_ends_nothing(database: SqliteDatabase) -> None:
    """A violated constraint takes its statement back, and nothing else; so does what never reaches the file."""

    async def job(tx: SqliteTransaction) -> str:
        await tx.write_row(a_row("k1", reply="r"))
        for wrong in ("UPDATE stock SET amount = -1", "INSERT INTO stock VALUES ('lamp', 1)", "SELECT nothing"):
            with pytest.raises(sqlite3.Error):
                await tx.execute(wrong)
        with pytest.raises(UsageError):
            await tx.execute("COMMIT")
        await tx.execute("UPDATE stock SET amount = 7")
        return "done"

    assert await run(database, job) == ["done"]
    assert database._checked_open().execute("SELECT DISTINCT amount FROM stock").fetchall() == [(7,)]
    assert await unsent_keys(database) == ["k1"]


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_statement_that_rolls_all_back_is_its_handlers_own_failure(
    database: SqliteDatabase, goes_on: bool
) -> None:
    """Taken for a database that is away, it would be tried again for ever."""

    async def job(tx: SqliteTransaction) -> str:
        await tx.execute("UPDATE stock SET amount = 0")
        try:
            await tx.execute("INSERT OR ROLLBACK INTO stock VALUES ('lamp', 1)")
        except sqlite3.IntegrityError:
            if not goes_on:
                raise
            with pytest.raises(UsageError):
                await tx.execute("DELETE FROM stock")
        return "done"

    (answer,) = await run(database, job)
    assert isinstance(answer, UsageError)
    answers = await run(database, writing(a_row("k1")), job)  # in a group, the others are done again, without it
    assert [type(one) for one in answers] == [StoreUnreachable] * 2
    assert await row_of(database, "k1") is None
    assert database._checked_open().execute("SELECT sum(amount) FROM stock").fetchone() == (4,)


async def test_a_transaction_is_of_no_use_after_its_handler(database: SqliteDatabase) -> None:
    async def job(tx: SqliteTransaction) -> SqliteTransaction:
        return tx

    (tx,) = await run(database, job)
    with pytest.raises(UsageError, match="ended"):
        await tx.execute("DELETE FROM stock")


async def test_a_full_disk_takes_the_whole_group_back(database: SqliteDatabase) -> None:
    connection = database._checked_open()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")

    async def stubborn(tx: SqliteTransaction) -> None:
        try:
            await tx.execute("INSERT INTO stock VALUES (?, 1)", ("x" * 100_000,))
        except sqlite3.OperationalError:
            await tx.execute("DELETE FROM stock")

    answers = await run(database, writing(a_row("k1")), stubborn, writing(a_row("k2")))
    assert [type(answer) for answer in answers] == [StoreUnreachable] * 3
    connection.execute("PRAGMA max_page_count = 1000000")
    assert [await row_of(database, key) for key in ("k1", "k2")] == [None, None]
    assert connection.execute("SELECT count(*) FROM stock").fetchone() == (2,)


@pytest.mark.slow
async def test_marks_reach_the_disk_without_a_job(database: SqliteDatabase, opened: Opening) -> None:
    other = await opened(SqliteDatabase(database.path))
    await database.run([writing(a_row("k1", reply="r"))])
    await database.mark_sent(["k1"])

    async def written() -> bool:
        return not await unsent_keys(other)

    await eventually(written)


async def test_cancelling_during_the_commit_leaves_all_or_nothing(database: SqliteDatabase) -> None:
    for number in range(40):
        jobs = [writing(a_row(f"{number}-{one}")) for one in range(3)]
        task = asyncio.ensure_future(database.run(jobs))
        await asyncio.sleep(number * 0.00005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rows = [await row_of(database, f"{number}-{one}") for one in range(3)]
        assert len({row is None for row in rows}) == 1


async def test_a_table_of_another_make_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE choros_barrier (key TEXT, state TEXT, unsent INTEGER, prune_at REAL)")
    connection.close()
    with pytest.raises(StoreMisconfigured, match="columns"):
        await SqliteDatabase(tmp_path / "shop.db").open()


async def test_a_folder_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="cannot be opened"):
        await SqliteDatabase(tmp_path / "nowhere" / "shop.db").open()


async def test_an_error_of_another_file_is_the_handlers_own_affair(database: SqliteDatabase, tmp_path: Path) -> None:
    """Taken for ours, it would look as if this database were away, and be tried again for ever."""
    holder = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN IMMEDIATE")

    async def job(tx: SqliteTransaction) -> None:
        await tx.execute("UPDATE stock SET amount = 0")
        with closing(sqlite3.connect(tmp_path / "other.db", timeout=0)) as other:
            other.execute("INSERT INTO t VALUES (1)")

    (answer,) = await run(database, job)
    assert isinstance(answer, sqlite3.OperationalError)
    holder.close()


async def test_marks_that_could_not_be_written_wait_for_no_other_job(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was away when they were to be; after that nothing is done any more."""
    begin, failures = database.begin, [StoreUnreachable("The file is away.")]

    async def begins() -> None:
        if failures:
            raise failures.pop()
        await begin()

    await database.run([writing(a_row("k1", reply="owed"))])
    monkeypatch.setattr("choros.store.sqlite.barrier.FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(database, "begin", begins)
    await database.mark_sent(["k1"])
    with closing(sqlite3.connect(database.path)) as other:

        async def written() -> bool:
            return not other.execute("SELECT * FROM choros_barrier WHERE unsent IS NOT NULL").fetchall()

        await eventually(written)
    assert not failures

"""What only the SQLite store can do wrong: crashes, foreign files, a full disk, other processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.store.sagas import Committed, Unsent
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import after, command, creation, stored
from tests.store.conftest import Opening, eventually

COMMITTER = """
import asyncio, sys
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import after, command, creation

async def chain(store, saga_id):
    last = creation(saga_id)
    while True:
        await store.commit([last])
        print(saga_id, last.record.version, flush=True)
        last = after(last, command(f"c{last.record.version}"), sent=(f"c{last.record.version - 1}",))

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await asyncio.gather(*(chain(store, f"{sys.argv[2]}{number}") for number in range(8)))

asyncio.run(main())
"""


def committer(path: Path, name: str) -> subprocess.Popen[str]:
    """A process that commits until it is killed, and prints what was acknowledged."""
    return subprocess.Popen([sys.executable, "-c", COMMITTER, str(path), name], stdout=subprocess.PIPE, text=True)


def lines_of(process: subprocess.Popen[str], count: int) -> str:
    """The first lines it prints, however slowly it starts."""
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(count))


@pytest.mark.slow
async def test_kill_9_loses_no_acknowledged_commit(tmp_path: Path, opened: Opening) -> None:
    path = tmp_path / "sagas.db"
    processes = [committer(path, name) for name in "ab"]
    begun = [await asyncio.to_thread(lines_of, process, 500) for process in processes]
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    printed = [text + process.communicate()[0] for text, process in zip(begun, processes, strict=True)]
    acknowledged: dict[str, int] = {}
    for line in (line for text in printed for line in text.split("\n")[:-1]):  # the last one may be cut off
        saga_id, _, number = line.partition(" ")
        acknowledged[saga_id] = int(number)
    assert len(acknowledged) == 16
    assert min(acknowledged.values()) > 10
    store = await opened(SqliteStore(path))
    loaded = await store.load(list(acknowledged))
    for saga_id, version in acknowledged.items():
        # One more than acknowledged may be there; whatever is there is whole.
        stored_version = loaded[saga_id].record.version
        assert stored_version - version in (0, 1)
        assert loaded[saga_id].unsent == {f"c{stored_version - 1}"}
        assert [row.version for row in await store.history(saga_id)] == list(range(1, stored_version + 1))


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StoreMisconfigured, match="not a sound SQLite database"):
        await SqliteStore(tmp_path / "letter.txt").open()


async def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE customer (name TEXT)")
    connection.close()
    with pytest.raises(StoreMisconfigured, match="holds something else"):
        await SqliteStore(tmp_path / "other.db").open()


async def test_an_unknown_schema_version_is_refused(tmp_path: Path, opened: Opening) -> None:
    await (await opened(SqliteStore(tmp_path / "sagas.db"))).close()
    with sqlite3.connect(tmp_path / "sagas.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreMisconfigured, match=r"schema version 99.*Try: "):
        await SqliteStore(tmp_path / "sagas.db").open()


async def test_a_folder_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="cannot be opened"):
        await SqliteStore(tmp_path / "nowhere" / "sagas.db").open()


async def test_no_database_in_memory() -> None:
    with pytest.raises(StoreMisconfigured, match="write-ahead"):
        await SqliteStore(":memory:").open()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sagas.db")
    with pytest.raises(StoreUnreachable, match="not open"):
        await store.commit([creation()])
    with pytest.raises(StoreUnreachable, match="not open"):
        await store.load(["s1"])


async def test_a_full_disk_refuses_the_commit_and_the_store_goes_on_later(tmp_path: Path, opened: Opening) -> None:
    store: SqliteStore = await opened(SqliteStore(tmp_path / "sagas.db"))
    await stored(store, creation("s1"))
    connection = store._open.writer._connection
    limit = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {limit}")
    with pytest.raises(StoreUnreachable, match="disk is full"):
        await store.commit([creation("s2", state="x" * 50_000)])
    assert not await store.load(["s2"])
    connection.execute("PRAGMA max_page_count = 1000000")
    await stored(store, creation("s2", state="x" * 50_000))


async def test_a_lock_of_another_process_is_waited_for(
    tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("choros.store.sqlite.waiting.LOCK_SECONDS", 0.001)
    store: SqliteStore = await opened(SqliteStore(tmp_path / "sagas.db"))
    other = sqlite3.connect(tmp_path / "sagas.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
    begun = time.monotonic()
    await stored(store, creation())
    assert time.monotonic() - begun > 0.25
    other.close()


async def test_a_lock_that_stays_is_reported(tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("choros.store.sqlite.waiting.LOCK_SECONDS", 0.001)
    monkeypatch.setattr("choros.store.sqlite.file.BUSY_SECONDS", 0.1)
    store: SqliteStore = await opened(SqliteStore(tmp_path / "sagas.db"))
    other = sqlite3.connect(tmp_path / "sagas.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnreachable, match="locked by another process"):
        await store.commit([creation()])
    other.close()


async def test_what_sqlite_cannot_take_harms_nobody_else(tmp_path: Path, opened: Opening) -> None:
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    poison = creation("bad", Unsent("c1", "commands", "\ud800"))
    good = [creation(f"s{number}") for number in range(5)]
    batches = [good[:1], [good[1], poison, good[2]], good[3:]]
    answers = await asyncio.gather(*(store.commit(batch) for batch in batches))
    ok = Committed.OK
    assert answers == [[ok], [ok, Committed.REFUSED, ok], [ok, ok]]
    assert set(await store.load(["bad", "s0", "s1", "s2", "s3", "s4"])) == {one.record.saga_id for one in good}


async def test_an_entry_that_somebody_has_made_something_else_of_is_not_there(tmp_path: Path, opened: Opening) -> None:
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    await stored(store, replace(creation("s1"), entries={"a": "1", "b": "2"}))
    with closing(sqlite3.connect(tmp_path / "sagas.db")) as file, file:
        file.execute("UPDATE entry SET text = x'ff' WHERE name = 'a'")
    assert (await store.load(["s1"], {"s1": None}))["s1"].entries == {"b": "2"}
    assert (await store.load(["s1"], {"s1": ["a", "b"]}))["s1"].entries == {"a": "", "b": "2"}


async def test_marks_reach_the_disk_without_a_commit(tmp_path: Path, opened: Opening) -> None:
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    other = await opened(SqliteStore(tmp_path / "sagas.db"))
    await stored(store, creation("s1", command("c1"), command("c2")))
    await store.mark_sent([("s1", "c1")])
    await store.mark_sent([("s1", "c2")])

    async def written() -> bool:
        return not (await other.load(["s1"]))["s1"].unsent

    await eventually(written)


async def test_marks_ride_with_the_next_commit(tmp_path: Path, opened: Opening) -> None:
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    other = await opened(SqliteStore(tmp_path / "sagas.db"))
    made = creation("s1", command("c1"))
    await stored(store, made)
    await store.mark_sent([("s1", "c1")])
    await stored(store, after(made))
    assert not (await other.load(["s1"]))["s1"].unsent


async def test_many_commits_share_a_transaction(tmp_path: Path, opened: Opening) -> None:
    store: SqliteStore = await opened(SqliteStore(tmp_path / "sagas.db"))
    statements: list[str] = []
    store._open.writer._connection.set_trace_callback(statements.append)
    await asyncio.gather(*(store.commit([creation(f"s{number}")]) for number in range(200)))
    assert statements.count("COMMIT") < 20


async def test_the_file_survives_a_power_cut(tmp_path: Path, opened: Opening) -> None:
    store: SqliteStore = await opened(SqliteStore(tmp_path / "sagas.db"))
    connection = store._open.writer._connection
    pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


async def test_marks_that_could_not_be_written_wait_for_no_commit(
    tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was locked when they were to be; after that nothing is committed any more."""
    for name, seconds in (("file.BUSY_SECONDS", 0.0), ("waiting.LOCK_SECONDS", 0.001), ("writer.AGAIN_SECONDS", 0.01)):
        monkeypatch.setattr(f"choros.store.sqlite.{name}", seconds)
    store: SqliteStore = await opened(SqliteStore(tmp_path / "sagas.db"))
    await stored(store, creation("s1", command("c1")))
    writer, failed = store._open.writer, asyncio.Event()

    async def fails(*_: object) -> None:
        failed.set()

    monkeypatch.setattr(writer, "_not_written", fails)
    with closing(sqlite3.connect(tmp_path / "sagas.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await store.mark_sent([("s1", "c1")])
        await failed.wait()
        other.execute("COMMIT")

        async def written() -> bool:
            return not other.execute("SELECT * FROM outbox").fetchall()

        await eventually(written)

"""What choros writes to disk is for its owner's eyes only, unless the owner has said otherwise."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.roles.addresses import Addresses, database_at, opened_database, opened_store, store_at
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.barrier import a_row, writing
from choros.testing.conformance.records import creation

Written = Callable[[Path], Awaitable[None]]


async def a_store(path: Path) -> None:
    """Looks while it is open and has been written to: the log files are there only then."""
    store = SqliteStore(path)
    await store.open()
    await store.commit([creation()])
    look(path)
    await store.close()


async def a_database(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()
    await database.run([writing(a_row())])
    look(path)
    await database.close()


seen: dict[str, int] = {}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def look(path: Path) -> None:
    seen.update({one.name: mode(one) for one in path.parent.iterdir() if one.is_file()})


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    seen.clear()
    yield
    os.umask(before)


@pytest.mark.parametrize("written", [a_store, a_database])
async def test_a_new_file_and_its_logs_are_private(tmp_path: Path, written: Written) -> None:
    await written(tmp_path / "one.db")
    assert seen == {"one.db": 0o600, "one.db-wal": 0o600, "one.db-shm": 0o600}


@pytest.mark.parametrize("written", [a_store, a_database])
async def test_the_mode_of_a_file_that_is_there_is_its_owners_affair(tmp_path: Path, written: Written) -> None:
    (tmp_path / "one.db").touch()
    (tmp_path / "one.db").chmod(0o640)
    await written(tmp_path / "one.db")
    assert seen == {"one.db": 0o640, "one.db-wal": 0o640, "one.db-shm": 0o640}


@pytest.mark.parametrize("at", [store_at, database_at])
async def test_a_name_that_is_no_file_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: object) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(at)
    with pytest.raises(Exception, match="write-ahead"):
        await at("sqlite:///:memory:").open()
    assert os.listdir(tmp_path) == []


async def test_the_folder_that_is_made_for_them_is_private(tmp_path: Path) -> None:
    service = Service("mail")
    app = App("shop", services=[service])
    made, there = tmp_path / ".choros", tmp_path / "there"
    there.mkdir()
    for folder in (made, there):
        addresses = Addresses(store=f"sqlite:///{folder}/s.db", database=f"sqlite:///{folder}/{{service}}.db")
        async with opened_store(addresses, app), opened_database(addresses, app, service):
            assert {mode(one) for one in folder.iterdir()} == {0o600}
    assert (mode(made), mode(there)) == (0o700, 0o755)

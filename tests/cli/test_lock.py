"""`choros lock`, and what `choros saga show` says of a saga that waits for a lock or has one."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from choros.roles.addresses import Addresses
from choros.roles.loading import load_app
from choros.roles.roles import client_of
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.store.sqlite.sagas import SqliteStore
from tests.cli.test_cli import STORE, Choros, choros

__all__ = ["choros"]

CHANGES = """
from datetime import timedelta

from choros import App, Command, Done, Lock, Message, Pivot, Saga, Service

class Change(Message):
    number: str
    customer: str

class Book(Command[Done]):
    number: str

def book(change: Change) -> Book:
    return Book(number=change.number)

lock = Lock("customer", key=lambda change: change.customer, within=timedelta(hours=1))
saga = Saga("change", start=Change, key=lambda change: change.number, lock=lock, steps=(Pivot(book, to="books"),))
app = App("changes", sagas=[saga], services=[Service("books", commands=(Book,))])
"""
WAITS = "waits for the lock customer:7, which saga"


@pytest.fixture
def ids(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two changes for one customer; the first has the lock."""
    (tmp_path / "changes.py").write_text(CHANGES)
    monkeypatch.delitem(sys.modules, "changes", raising=False)
    return asyncio.run(_started())


async def _started() -> list[str]:
    app = load_app("changes:app")
    message = app.saga("change").start
    async with client_of(app, Addresses("memory://", STORE[1], "memory://")) as client:
        made = [message.from_json(json.dumps({"number": f"c{one}", "customer": "7"})) for one in (1, 2)]
        ids = [await client.start(app.saga("change"), made[0])]
        while (await client.show(ids[0])).instance.queued:
            await asyncio.sleep(0.01)
        ids.append(await client.start(app.saga("change"), made[1]))
        while not (state := (await client.show(ids[1])).instance.lock) or not state.holder:
            await asyncio.sleep(0.01)
    return ids


def test_what_is_locked_and_who_waits(choros: Choros, ids: list[str]) -> None:
    [row] = json.loads(choros("lock", "list", "changes", *STORE, "-o", "json").out)
    assert (row["lock"], row["saga_id"], row["key"], row["state"]) == ("customer:7", ids[0], "c1", "running")
    assert [(one["saga_id"], one["key"]) for one in row["waiting"]] == [(ids[1], "c2")]
    shown = json.loads(choros("lock", "show", "changes", "customer:7", *STORE, "-o", "json").out)
    assert shown == row
    assert shown["waiting"][0]["until"] > shown["waiting"][0]["since"]
    table = choros("lock", "list", "changes", *STORE).out
    assert "customer:7" in table
    first, second = choros("lock", "show", "changes", "customer:7", *STORE).out.splitlines()[-2:]
    assert first.startswith("has it")
    assert second.startswith("waits")


def test_a_key_that_nobody_has_is_said(choros: Choros, ids: list[str]) -> None:
    said = choros("lock", "show", "changes", "customer:8", *STORE)
    assert said.code == 2
    assert "Nobody has locked 'customer:8'" in said.err


def test_saga_show_says_who_is_in_the_way_and_what_is_held(choros: Choros, ids: list[str]) -> None:
    assert "has locked customer:7\n" in choros("saga", "show", "changes", "c1", *STORE).out
    waiting = choros("saga", "show", "changes", "c2", *STORE).out
    assert f"{WAITS} {ids[0]}" in " ".join(waiting.split())
    assert "Try: choros lock show changes customer:7" in waiting
    assert "waits for the lock" in waiting.splitlines()[2]
    told = json.loads(choros("saga", "show", "changes", "c2", *STORE, "-o", "json").out)
    assert told["lock"] == {"keys": ["customer:7"], "taken": False, "holder": ids[0]}


def test_a_saga_that_is_gone_is_said(choros: Choros, ids: list[str]) -> None:
    asyncio.run(_left_behind())
    rows = json.loads(choros("lock", "list", "changes", *STORE, "-o", "json").out)
    assert [(row["lock"], row["state"]) for row in rows] == [("customer:7", "running"), ("customer:9", "gone")]


async def _left_behind() -> None:
    sagas = SqliteStore(STORE[1].removeprefix("sqlite:///"), namespace="changes.changes")
    rows = SqliteStore(STORE[1].removeprefix("sqlite:///"), namespace="changes.changes.locks")
    await sagas.open()
    await rows.open()
    await LockRows(rows, sagas).ask("customer:9", "no-such-saga", 1)
    await rows.close()
    await sagas.close()

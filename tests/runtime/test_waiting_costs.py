"""What sagas cost that wait to be told something: a signal what a reply costs, a list what it shows."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.waiting import APP, AWAITS, THE_WAIT, Field, id_of
from choros import Addresses, running
from choros.desk.labelled import PAGE
from choros.desk.open_waits import open_waits
from choros.runtime.orchestrator.work import Unjudged, Work
from choros.saga.machine.inputs import SignalRequested
from choros.store.sqlite import transaction
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.sagas import SqliteStore

COUNTED = ("load", "commit", "labelled", "find", "history")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What the store is asked for, and how many records it hands out."""
    count: Counter[str] = Counter()

    def counting(name: str, real: Any) -> Any:
        async def ask(*given: Any, **named: Any) -> Any:
            answer = await real(*given, **named)
            count[name] += 1
            if name in ("load", "labelled"):
                count[f"{name}: records"] += len(answer)
            return answer

        return ask

    for name in COUNTED:
        monkeypatch.setattr(SqliteStore, name, counting(name, getattr(SqliteStore, name)))
    return count


async def asked_for(path: Path, waiting: int, asked: Counter[str]) -> list[dict[str, int]]:
    """For one signal, one reply, and one list, where so many wait."""
    addresses = Addresses("memory://", f"sqlite:///{path}/{waiting}.db", f"sqlite:///{path}/{waiting}-{{service}}.db")
    await Field(addresses, None).fill(waiting, 1)
    found = []
    given: list[tuple[str, SignalRequested | Unjudged]] = [
        ("asks", SignalRequested("s1", THE_WAIT, "{}")),
        ("does", AWAITS.reply(0)),
    ]
    async with running(APP, addresses) as client:
        for saga, one in given:
            asked.clear()
            done = await client._decider.ask(Work(id_of(saga, 0), one))
            assert done.instance.terminal
            found.append(dict(asked))
        asked.clear()
        assert len((await open_waits(APP.sagas, client._store, limit=3))[0]) == 3
        return [*found, dict(asked)]


async def test_a_signal_asks_the_store_for_what_a_reply_does_and_a_list_for_a_page(
    tmp_path: Path, asked: Counter[str]
) -> None:
    few, many = [await asked_for(tmp_path, waiting, asked) for waiting in (PAGE + 10, 3 * PAGE)]
    signal, reply, listed = many
    assert few == many
    assert signal == reply == {"load": 1, "load: records": 1, "commit": 1}
    assert listed == {"labelled": 1, "labelled: records": PAGE, "load": 1, "load: records": PAGE}


async def test_what_is_not_finished_and_what_has_not_left_is_found_by_index(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "service.db")
    await database.open()
    await database.close()
    with closing(sqlite3.connect(tmp_path / "service.db")) as file:
        plans = {
            state: file.execute(f"EXPLAIN QUERY PLAN {query}", (None, None)).fetchall()
            for state, query in transaction._LISTED.items()
        }
    for state, plan in plans.items():
        assert [f"choros_barrier_{state}" in step for *_, step in plan] == [True]  # and no sorting beside it

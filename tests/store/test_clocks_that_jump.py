"""A clock that is set back, or that differs between two orchestrators, must not put a saga's facts out of order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import after, creation, fact, stored
from tests.store.conftest import Opening

NOW = 1_790_000_000.0


@dataclass
class Clock:
    """Says what it is told to say."""

    says: float = NOW

    def time(self) -> float:
        return self.says


async def released_while_the_clock_is_set_back(store: Store, clock: Clock) -> list[str]:
    """What a scan takes for old enough, after the clock went back an hour between two facts."""
    first = creation("s1", fact("f1"))
    await stored(store, first)
    clock.says -= 3600
    await stored(store, after(first, fact("f2")))
    return [entry.id for entry in await store.unsent("facts", clock.says + 60, 10)]


async def test_in_memory_a_later_fact_is_never_older_than_an_earlier_one(opened: Opening) -> None:
    clock = Clock()
    store = await opened(MemoryStore(clock=clock.time))
    assert await released_while_the_clock_is_set_back(store, clock) == []
    assert [entry.id for entry in await store.unsent("facts", NOW + 60, 10)] == ["f1", "f2"]


async def test_in_sqlite_a_later_fact_is_never_older_than_an_earlier_one(
    tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("choros.store.sqlite.writer.now", clock.time)
    store = await opened(SqliteStore(tmp_path / "sagas.db"))
    assert await released_while_the_clock_is_set_back(store, clock) == []
    assert [entry.id for entry in await store.unsent("facts", NOW + 60, 10)] == ["f1", "f2"]

"""The same random life, lived on every store, looks the same at every moment."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from choros.store.memory.sagas import MemoryStore
from choros.store.postgres.sagas import PostgresStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Kind, Record, Store, Transition, Unsent
from choros.store.sqlite.sagas import SqliteStore
from choros.testing.conformance.records import KNOWN, LATER, a_record
from tests.store.conftest import Opening

IDS = [f"s{number}" for number in range(6)]
STATUSES = ("running", "compensating", "completed", "parked")


class Life:
    """Random transitions and marks: right ones, stale ones, impossible ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.last: dict[str, Record] = {}
        self.entries: list[tuple[str, str]] = [("s0", "never")]

    def transition(self, number: int) -> Transition:
        """One that may or may not fit."""
        choose = self.random
        saga_id = choose.choice(IDS)
        old = self.last.get(saga_id)
        saga = "order" if saga_id < "s4" else "return"
        made = a_record(saga_id, saga=saga, started_at=float(IDS.index(saga_id) // 2))
        record = replace(
            old or made,
            version=(old.version if old else 0) + choose.choice((1, 1, 1, 1, 0, 2)),
            transition=f"t{number}",
            status=choose.choice(STATUSES),
            wake_at=choose.choice((None, choose.uniform(0, 100))),
            received=(*(old.received if old else ()), f"m{number}"),
            updated_at=float(number),
            fingerprint=choose.choice(("", "a", "b")),
        )
        previous = choose.choice((old.transition if old else "",) * 5 + ("other",))
        outbox = tuple(
            Unsent(f"e{number}-{n}", choose.choice(("commands", "facts")), "{}") for n in range(choose.randrange(3))
        )
        sent = tuple(entry_id for one, entry_id in self.entries if one == saga_id and choose.random() < 0.4)
        return Transition(record, previous, outbox, sent, choose.choice(("", f'["{number}"]')))

    def happened(self, transition: Transition) -> None:
        """Remember what was committed."""
        self.last[transition.record.saga_id] = transition.record
        self.entries += [(transition.record.saga_id, entry.id) for entry in transition.outbox]


async def looks(store: Store) -> list[object]:
    """All that can be seen."""
    until = store.now() + LATER
    seen: list[object] = [await store.load(IDS), await store.counts()]
    for known in (KNOWN, [Kind("return", 1, "b")], [Kind("order", 1, "a"), Kind("order", 1, "b"), Kind("return", 1)]):
        seen += [list(await store.due(50.0, known, 3))]
    seen.append(list(await store.unsent("facts", until, 99)))
    seen.append([(e.saga_id, e.id) for e in await store.unsent("commands", until, 5)])
    for saga, status in (("", ""), ("order", ""), ("", "parked"), ("return", "completed")):
        first = await store.find(saga=saga, status=status, limit=2)
        rest = await store.find(saga=saga, status=status, limit=9, cursor=first.cursor) if first.cursor else None
        seen.append((list(first.records), list(rest.records) if rest else None))
    return [*seen, [list(await store.history(saga_id)) for saga_id in IDS]]


async def live(seed: int, stores: list[Store], steps: int) -> None:
    life = Life(seed)
    for number in range(steps):
        batch = list({t.record.saga_id: t for t in (life.transition(number * 10 + n) for n in range(3))}.values())
        answers = [list(await store.commit(batch)) for store in stores]
        assert answers[1:] == answers[:-1], f"seed {seed}, step {number}"
        for transition, answer in zip(batch, answers[0], strict=True):
            if answer.value == "ok":
                life.happened(transition)
        marks = life.random.sample(life.entries, min(2, len(life.entries)))
        for store in stores:
            await store.mark_sent(marks)
        seen = [await looks(store) for store in stores]
        assert seen[1:] == seen[:-1], f"seed {seed}, step {number}"


@pytest.mark.parametrize("seed", range(5))
async def test_memory_and_sqlite_agree(seed: int, opened: Opening, tmp_path: Path) -> None:
    await live(seed, [await opened(MemoryStore()), await opened(SqliteStore(tmp_path / "sagas.db"))], 60)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
async def test_memory_and_postgresql_agree(seed: int, opened: Opening, postgres_url: str, namespace: str) -> None:
    await live(seed, [await opened(MemoryStore()), await opened(PostgresStore(postgres_url, namespace))], 60)


@pytest.mark.parametrize("seed", range(3))
async def test_memory_and_redis_agree(
    seed: int, opened: Opening, redis_url: str, namespace: str, redis_client: object
) -> None:
    await live(seed, [await opened(MemoryStore()), await opened(RedisStore(redis_url, namespace))], 60)

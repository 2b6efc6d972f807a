"""Records loaded and committed, for each kind of store; what has left is taken out by the next commit, as mostly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

from benchmarks.pattern import NAMESPACE, Pattern
from benchmarks.stage.stage import AT_ONCE, LOCAL, PART, RABBITMQ, Stage
from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Committed, Store, Transition
from choros.store.sqlite.sagas import SqliteStore

Batch = Sequence[Transition]
LOADS, COMMITS = 1, 4
"""For a saga that goes well: what this process has committed last it does not ask for."""


async def store_stages(pattern: Pattern, stack: AsyncExitStack, folder: Path, redis_url: str) -> list[Stage]:
    """Those of all stores; of Redis only where there is one."""
    kinds: list[tuple[str, Store, frozenset[str], tuple[float, float, float]]] = [
        ("memory", MemoryStore(namespace=NAMESPACE), PART, (4, 4, 1)),
        ("sqlite", SqliteStore(folder / "sagas.db", NAMESPACE), frozenset({LOCAL}), (15, 40, 1)),
    ]
    if redis_url:
        kinds.append(
            ("redis", RedisStore(redis_url, f"{NAMESPACE}.{folder.name}"), frozenset({RABBITMQ}), (15, 25, 10))
        )
    stages: list[Stage] = []
    for name, store, of, wanted in kinds:
        stack.push_async_callback(store.close)
        await store.open()
        stages += _StoreStages(store, pattern).stages(name, of, *wanted)
    return stages


class _StoreStages:
    def __init__(self, store: Store, pattern: Pattern) -> None:
        self._store, self._pattern = store, pattern
        self._numbers = count()

    def stages(self, name: str, of: frozenset[str], load: float, commit: float, mark: float) -> Iterator[Stage]:
        """The same work for every store."""
        yield Stage(f"{name}: load", LOADS, load, AT_ONCE, self._load, self._stored, of)
        yield Stage(f"{name}: commit", COMMITS, commit, 4 * AT_ONCE, self._commit, self._batches, of)
        yield Stage(f"{name}: mark as sent", 1, mark, AT_ONCE, self._mark, self._ended, of)

    def _batches(self) -> Sequence[Batch]:
        """Four for as many sagas as are decided together: none of them has two transitions in one."""
        now = self._store.now()
        sagas = [_leaving(self._pattern.stamped(next(self._numbers), now)) for _ in range(AT_ONCE)]
        return list(zip(*sagas, strict=True))

    async def _commit(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            answers = await self._store.commit(batch)
            assert all(answer is Committed.OK for answer in answers)

    async def _stored(self) -> Sequence[str]:
        first, *_ = self._batches()
        await self._commit([first])
        return [one.record.saga_id for one in first]

    async def _load(self, saga_ids: Sequence[str]) -> None:
        assert len(await self._store.load(saga_ids)) == AT_ONCE

    async def _ended(self) -> Sequence[tuple[str, str]]:
        batches = self._batches()
        await self._commit(batches)
        return [(one.record.saga_id, one.outbox[0].id) for one in batches[-1]]

    async def _mark(self, sent: Sequence[tuple[str, str]]) -> None:
        await self._store.mark_sent(sent)


def _leaving(transitions: Sequence[Transition]) -> Sequence[Transition]:
    """Each commit takes out what the one before has brought."""
    before: tuple[str, ...] = ()
    leaving = []
    for one in transitions:
        leaving.append(replace(one, sent=before))
        before = tuple(message.id for message in one.outbox)
    return leaving

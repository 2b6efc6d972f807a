"""Schedules at work over months that take milliseconds: two orchestrators, killed anywhere, with clocks that jump.

What starts sagas stands in for the decider and keeps its promise alone: one saga for one start key. The stores are
shared, and each process may end at any of its calls, before or after it has happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from choros import App, Schedule
from choros.app.schedule import WhenMissed
from choros.runtime.client.schedules import ScheduleActs
from choros.runtime.orchestrator.agenda import moment, read_agenda
from choros.runtime.orchestrator.schedules import Schedules
from choros.runtime.orchestrator.signature import Signature
from choros.runtime.orchestrator.work import Start, Work
from choros.store.memory.sagas import MemoryStore
from tests.runtime.stage import make_app
from tests.saga import shop

BEGAN = datetime(2026, 1, 10, tzinfo=UTC).timestamp()
DAY = 86_400.0
LONG = timedelta(days=10_000)
CALLS = ("load", "commit", "due", "next_due")


class Killed(BaseException):
    """A process is no more."""


def order_of(at: datetime) -> shop.PlaceOrder:
    return shop.ORDER.model_copy(update={"order_id": at.isoformat()})


def night_app(missed: WhenMissed = "all", **given: Any) -> App:
    """The shop, with an order every night and one every five hours."""
    late = LONG if missed == "all" else None
    more: Any = {"start": order_of, "missed": missed, "late": late, **given}
    app = make_app()
    nightly = Schedule("nightly", shop.order_saga, cron="30 2 * * *", tz="Europe/Berlin", **more)
    often = Schedule("often", shop.order_saga, every=timedelta(hours=5), **more)
    return App("shop", sagas=app.sagas.values(), services=app.services.values(), schedules=[nightly, often])


class _Dying:
    """A store as one process sees it: each call takes a while, and may be its last."""

    def __init__(self, store: MemoryStore, life: Life) -> None:
        self._store, self._life = store, life

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in CALLS:
            return real

        async def called(*given: Any, **more: Any) -> Any:
            await self._life.passes()
            answer = await real(*given, **more)
            await self._life.passes()
            return answer

        return called


@dataclass
class Life:
    """How long one process lives, in calls; and how wrong its clock is."""

    chance: Random
    calls: int
    skew: float = 0.0

    async def passes(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        self.calls -= 1
        if self.calls <= 0:
            raise Killed


@dataclass
class Night:
    """One campaign."""

    seed: int
    missed: WhenMissed = "all"
    kind: type[Schedules] = Schedules
    clock: float = BEGAN
    sagas: dict[str, str] = field(default_factory=dict)
    """By saga id the key under which it was started."""

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.app = night_app(self.missed)
        self._rows = MemoryStore(clock=lambda: self.clock)

    def _worker(self, life: Life) -> Schedules:
        store = MemoryStore(self._rows, lambda: self.clock + life.skew)
        store._open = True

        async def ask(work: Work) -> Any:
            await life.passes()
            assert isinstance(work.given, Start)
            self.sagas.setdefault(work.saga_id, work.given.key)
            await life.passes()

        return self.kind(self.app, _Dying(store, life), ask)

    async def run(self, days: float) -> list[str]:
        """What is wrong in the end."""
        await self._rows.open()
        self.acts = ScheduleActs(self.app, self._rows, Signature("Ann"))
        await self._life(Life(self.chance, 10**9), looks=1)
        end = BEGAN + days * DAY
        while self.clock < end:
            self.clock += self.chance.choice((60.0, 3600.0, 4 * 3600.0, DAY, 3 * DAY))
            await self._some_lives()
            if self.chance.random() < 0.1:
                await self.acts.pause("nightly")
            elif self.chance.random() < 0.3:
                await self.acts.resume("nightly")
        await self.acts.resume("nightly")
        self.clock += 60.0  # whatever was claimed is so no more
        await self._life(Life(self.chance, 10**9), looks=200)
        return list(self._wrong())

    async def _some_lives(self) -> None:
        lives = [
            Life(self.chance, self.chance.randrange(1, 60), self.chance.choice((0.0, 0.0, 20.0))) for _ in range(2)
        ]
        await asyncio.gather(*(self._life(life, looks=4) for life in lives))

    async def _life(self, life: Life, looks: int) -> None:
        try:
            worker = self._worker(life)
            await worker.establish()
            for _ in range(looks):
                if await worker.look() > 0.0:
                    break
        except Killed:
            return

    def expected(self) -> Iterator[str]:
        """The start keys of all times since it began."""
        for name, schedule in self.app.schedules.items():
            for at in schedule.times(moment(BEGAN)):
                if at.timestamp() > self.clock:
                    break
                yield f"{name}:{at:%Y-%m-%dT%H:%M:%SZ}"

    def _wrong(self) -> Iterator[str]:
        keys, expected = list(self.sagas.values()), dict.fromkeys(self.expected())
        started = set(keys)
        yield from (f"{key} was started, and is no time" for key in keys if key not in expected)
        if self.missed == "all":
            yield from (f"{key} was not started" for key in expected if key not in started)
        else:
            last = {key.partition(":")[0]: key for key in expected}
            yield from (f"{key} was the last, and not started" for key in last.values() if key not in started)

    async def stored(self, name: str) -> Any:
        return read_agenda((await self._rows.load([name]))[name].record)


def campaigns(seeds: Sequence[int], days: float, **given: Any) -> list[str]:
    """What is wrong in the first of these in which anything is."""
    for seed in seeds:
        if wrong := asyncio.run(Night(seed, **given).run(days)):
            return [f"seed {seed}: {one}" for one in wrong]
    return []

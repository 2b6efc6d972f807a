"""Chooses the faults, by a seed, and keeps the log of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.faults import BIG, GIVEN_UP, NEEDS_ROOM, SMALL, Fault, Scene
from tests.chaos.strangers import STRANGERS

_SMALL = {**SMALL, **STRANGERS}


@dataclass(frozen=True)
class Done:
    """A fault that happened."""

    at: float
    until: float
    kind: str
    did: str
    big: bool


@dataclass
class Nemesis:
    """Small faults all the time, and big ones one after the other, each kind once before any comes again."""

    scene: Scene
    path: Path
    small_every: float
    big_every: float
    say: Callable[[str], None]
    done: list[Done] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Faults that could not be carried out, and why."""
    extra: Mapping[str, Fault] = field(default_factory=dict)
    """More big ones, where there is more to hurt."""
    each_once: bool = False
    """Go on past the time, twice as long at most, until every kind of big fault has had its turn."""

    @property
    def impossible(self) -> list[str]:
        """Kinds that this machine does not allow."""
        rooms = self.scene.battlefield.rooms
        return [kind for kind, room in NEEDS_ROOM.items() if kind in {**BIG, **self.extra} and room not in rooms]

    @property
    def not_done(self) -> list[str]:
        """Kinds that would be possible, but whose turn did not come."""
        possible = {*BIG, *self.extra, *_SMALL} - set(self.impossible)
        return sorted(possible - {one.kind for one in self.done})

    @property
    def counts(self) -> Counter[str]:
        """Faults by kind."""
        return Counter(one.kind for one in self.done)

    async def run(self, seconds: float) -> None:
        """Until the time is over; every fault that was begun is healed."""
        loops = [asyncio.create_task(self._small(seconds)), asyncio.create_task(self._big(seconds))]
        await asyncio.gather(*loops)

    async def _small(self, seconds: float) -> None:
        until, under_way = time.monotonic() + seconds, set[asyncio.Task[None]]()
        kinds, weights = list(_SMALL), [weight for _, weight in _SMALL.values()]
        dice = self.scene.dice
        while time.monotonic() < until:
            await asyncio.sleep(min(dice.expovariate(1 / self.small_every), 4 * self.small_every))
            kind = dice.choices(kinds, weights)[0]
            task = asyncio.create_task(self._do(kind, _SMALL[kind][0], big=False))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)

    async def _big(self, seconds: float) -> None:
        until, bag, rounds = time.monotonic() + seconds, list[str](), 0
        possible = {kind: fault for kind, fault in {**BIG, **self.extra}.items() if kind not in self.impossible}
        at_most = until + seconds  # on a machine that is too slow for it, `not_done` says what was left out
        while time.monotonic() < until or (self.each_once and bag and rounds == 1 and time.monotonic() < at_most):
            if not bag:
                rounds += 1
                bag = sorted(possible)
                self.scene.dice.shuffle(bag)
            await asyncio.sleep(self.big_every * self.scene.dice.uniform(0.5, 1.5))
            kind = bag.pop()
            await self._do(kind, possible[kind], big=True)

    async def _do(self, kind: str, fault: Fault, *, big: bool) -> None:
        at = time.time()
        try:
            did = await fault(self.scene)
        except Exception as error:
            did = ""
            self.failed.append(f"{kind}: {error!r}")
            self.say(f"  ! {kind} could not be done: {error!r}")
        if did:
            self._note(Done(at, time.time(), kind, did, big))
        if self.scene.given_up:
            queues, self.scene.given_up = self.scene.given_up, []
            self._note(Done(at, time.time(), GIVEN_UP, ", ".join(queues), big=False))

    def _note(self, one: Done) -> None:
        self.done.append(one)
        with self.path.open("a") as log, suppress(OSError):
            log.write(json.dumps(asdict(one)) + "\n")
        if one.big:
            self.say(f"  {time.strftime('%H:%M:%S', time.localtime(one.at))} {one.kind}: {one.did}")

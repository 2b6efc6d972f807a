"""A campaign: rounds in which every entrant runs at every level, one right after the other, so that whatever else the
machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from benchmarks.contestants import Arena, Entrant
from benchmarks.measuring import Arrivals, Figures, Load
from benchmarks.neighbour import Neighbour

Results = dict[tuple[int, str], list[Figures]]
"""By (in flight, entrant): one entry for each round."""
WARM_UP, MOST_WARM_UP = 20, 100
"""Sagas that go before: as many as are in flight, within these bounds."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    levels: Mapping[int, int]
    """In flight -> sagas."""
    rounds: int
    seconds: float
    """No round starts that would end after this, judged by those before."""
    whole: bool = True
    """Whether everybody takes part, or those alone by whom the product is judged."""
    only: Collection[str] = ()
    """Takes part: whose name has one of these in it; everybody where there are none."""

    def __str__(self) -> str:
        each = ", ".join(f"{sagas} with {in_flight} in flight" for in_flight, sagas in self.levels.items())
        return f"At most {self.rounds} rounds; sagas in a measurement: {each}."

    def takes(self, entrant: Entrant, in_flight: int) -> bool:
        """Whether it is measured at this level."""
        whole = self.whole or in_flight not in entrant.aside
        wanted = any(text in entrant.name for text in self.only) if self.only else whole
        return wanted and (not entrant.levels or in_flight in entrant.levels)


DEFAULT = Plan({1: 60, 10: 200, 100: 800, 1000: 2000}, rounds=3, seconds=450)
QUICK = Plan({1: 10, 10: 40, 100: 200, 1000: 1000}, rounds=1, seconds=60, whole=False)


@dataclass
class Campaign:
    """Measures, round by round."""

    arena: Arena
    plan: Plan
    servers: Mapping[str, int]
    neighbour: Neighbour
    say: Callable[[str], None]

    async def run(self) -> Results:
        """All rounds, or as many as there is time for."""
        entrants = await self.arena.entrants()
        results: Results = {}
        numbers, began = count(1), time.monotonic()
        for round_ in range(self.plan.rounds):
            passed = time.monotonic() - began
            if round_ and passed + passed / round_ > self.plan.seconds:
                self.say(f"stopped after {round_} of {self.plan.rounds} rounds: no time for another")
                break
            for in_flight, sagas in self.plan.levels.items():
                self.say(f"round {round_ + 1} of {self.plan.rounds}: {in_flight} in flight")
                for entrant in (one for one in entrants if self.plan.takes(one, in_flight)):
                    figures = await self._measure(entrant, min(sagas, entrant.most), in_flight, numbers)
                    results.setdefault((in_flight, entrant.name), []).append(figures)
        return results

    async def _measure(self, entrant: Entrant, sagas: int, in_flight: int, numbers: count[int]) -> Figures:
        async with self._opened(entrant) as load_of:
            await load_of(next(numbers)).run(min(max(WARM_UP, in_flight), MOST_WARM_UP, sagas), in_flight)
            return await load_of(next(numbers)).run(sagas, in_flight)

    @asynccontextmanager
    async def _opened(self, entrant: Entrant) -> AsyncIterator[Callable[[int], Load]]:
        """At work in as many processes as it wants; what puts it under the load of a measurement."""
        arrivals = Arrivals()
        async with AsyncExitStack() as stack:
            if entrant.there:
                elsewhere = self.neighbour.opened(entrant.contestant, entrant.there, arrivals.heard)
                await stack.enter_async_context(elsewhere)
            shop = await stack.enter_async_context(entrant.contestant.opened(entrant.here, arrivals.heard))
            pid = self.neighbour.pid if entrant.there else 0
            yield lambda number: Load(shop, arrivals, partial(self.arena.saga, number), self.servers, pid)


def ratios(results: Results, in_flight: int, name: str, floor: str, of: Callable[[Figures], float]) -> Sequence[float]:
    """Its figure beside the floor's in the same round; nothing where one of them was not measured."""
    pairs = zip(results.get((in_flight, name), ()), results.get((in_flight, floor), ()), strict=False)
    return [of(one) / of(other) for one, other in pairs]

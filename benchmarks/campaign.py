"""A campaign: rounds in which every contestant runs at every level, one right after the other, so that whatever else
the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from benchmarks.contestants import Arena
from benchmarks.measuring import Contestant, Figures, Load, Shop

Results = dict[tuple[int, str], list[Figures]]
"""By (in flight, contestant): one entry for each round."""
WARM_UP = 20


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    levels: Mapping[int, int]
    """In flight -> sagas."""
    rounds: int
    seconds: float
    """No round starts that would end after this, judged by those before."""

    def capped(self, sagas: int) -> Plan:
        """The same with at most so many sagas in a measurement."""
        return Plan({level: min(sagas, most) for level, most in self.levels.items()}, self.rounds, self.seconds)


DEFAULT = Plan({1: 100, 10: 300, 100: 1000, 1000: 2000}, rounds=3, seconds=450)
QUICK = Plan({1: 20, 10: 60, 100: 200, 1000: 1000}, rounds=1, seconds=60)


@dataclass
class Campaign:
    """Measures, round by round."""

    arena: Arena
    plan: Plan
    servers: Mapping[str, int]
    say: Callable[[str], None]

    async def run(self) -> Results:
        """All rounds, or as many as there is time for."""
        contestants = await self.arena.contestants()
        results: Results = {}
        numbers, began = count(1), time.monotonic()
        for round_ in range(self.plan.rounds):
            passed = time.monotonic() - began
            if round_ and passed + passed / round_ > self.plan.seconds:
                self.say(f"stopped after {round_} of {self.plan.rounds} rounds: no time for another")
                break
            for in_flight, sagas in self.plan.levels.items():
                self.say(f"round {round_ + 1} of {self.plan.rounds}: {in_flight} in flight")
                for contestant in contestants:
                    figures = await self._measure(contestant, sagas, in_flight, numbers)
                    results.setdefault((in_flight, contestant.name), []).append(figures)
        return results

    async def _measure(self, contestant: Contestant, sagas: int, in_flight: int, numbers: count[int]) -> Figures:
        async with contestant.opened() as shop:
            await self._load(shop, next(numbers)).run(min(max(WARM_UP, in_flight), sagas), in_flight)
            return await self._load(shop, next(numbers)).run(sagas, in_flight)

    def _load(self, shop: Shop, measurement: int) -> Load:
        return Load(shop, partial(self.arena.saga, measurement), self.servers)


def ratios(results: Results, in_flight: int, name: str, floor: str) -> Sequence[float]:
    """Sagas per second beside the floor's in the same round."""
    pairs = zip(results[in_flight, name], results[in_flight, floor], strict=True)
    return [one.sagas_per_second / other.sagas_per_second for one, other in pairs]

"""The twelve hardest pairs of nodes that stand in each other, as docs/testing.md lists them; eleven explored with their
services, and a saga in a race together with the one around it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from choros import Branch, ForEach, Parallel, Repeat, Saga, Scope, Signal, Wait, When
from choros_verify import Bounds
from choros_verify.exploration.choices import ActKind
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.search import Found
from choros_verify.exploration.states import Left
from tests.exploration.composites import Go, came_back, left, step

NONE, DUPLICATE, CRASH = Left(0, 0, 0), Left(1, 0, 0), Left(0, 1, 0)
NOBODY: frozenset[ActKind] = frozenset()
CANCEL: frozenset[ActKind] = frozenset({"cancel"})


class Word(Signal):
    """What somebody says."""


def two(go: Go) -> list[int]:
    return [0, 1]


def one_time(go: Go) -> bool:
    return False


A, B, C = step("a"), step("b"), step("c")
WORD = Branch("said", Wait(Word, within=timedelta(days=1)))


@dataclass(frozen=True)
class Pair:
    """A saga with one node in another, and how far it is explored."""

    steps: tuple[Any, ...]
    budgets: Left = NONE
    acts: frozenset[ActKind] = CANCEL

    @property
    def saga(self) -> Saga[Go]:
        """Nothing else is in it."""
        return Saga("pair", start=Go, key=lambda go: go.key, steps=self.steps, compensated=came_back)

    def explored(self, budgets: Left | None = None, acts: frozenset[ActKind] | None = None) -> Found[Any]:
        """All that may happen to it."""
        bounds = Bounds(budgets or self.budgets, acts=self.acts if acts is None else acts)
        return Exploration(self.saga, bounds, start=Go(key="g").to_json()).run()


PAIRS = {
    "`When` in `Parallel`": Pair((Parallel(When(left, then=A, otherwise=B), C),)),
    "`Parallel` in `When`": Pair((When(left, then=Parallel(A, B)),)),
    "`Parallel` in `Parallel`": Pair((Parallel(Parallel(A, B, name="inner"), C),)),
    "`Parallel` in `ForEach`": Pair((ForEach(two, Parallel(A, B)),)),
    "`ForEach` in `Parallel`": Pair((Parallel(ForEach(two, A), B),)),
    "`ForEach` in a race": Pair((Parallel(ForEach(two, A), B, first=1),)),
    "a race in `ForEach`": Pair((ForEach(two, Parallel(A, B, first=1)),), acts=NOBODY),
    "`Scope` in `ForEach`": Pair((ForEach(two, Scope(A, otherwise=B)),)),
    "a race in `Scope`": Pair((Scope(Parallel(A, B, first=1), otherwise=C),)),
    "`Scope` in `Repeat`": Pair((Repeat(Scope(A, otherwise=B), until=one_time, at_most=2),)),
    "`Wait` in a race": Pair((Parallel(WORD, A, first=1),), acts=CANCEL | {"signal"}),
}

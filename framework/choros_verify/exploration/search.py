"""The walk over every state, breadth first: the first story that breaks something is the shortest there is."""

import operator
import random
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Generic, Protocol, TypeVar

from choros_verify.exploration.holds import Violation
from choros_verify.exploration.states import Left, WorldState

OnStates = Callable[[int, int, int], None]
"""Told (states so far, states left on this level, level) now and then."""
EVERY = 2_000
"""States between two reports of progress."""


E = TypeVar("E")


class Walked(Protocol[E]):
    """What is walked through."""

    event: E
    """What it is trying: a Violation is that event's."""

    def after(self, world: WorldState, left: Left) -> Iterator[tuple[E, WorldState, Left]]:
        """Every state that may be next, and what leads there."""


@dataclass
class Found(Generic[E]):
    """What a walk found."""

    states: int = 0
    transitions: int = 0
    seconds: float = 0.0
    depth: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    complete: bool = True
    violation: Violation | None = None
    notes: list[str] = field(default_factory=list)
    """What functions of the declaration did wrong with the messages of this walk."""
    not_taken: list[str] = field(default_factory=list)
    """Branches of choices that these messages never led into."""
    events: list[E] = field(default_factory=list)
    """For a violation: the shortest way to it."""


class Budgets:
    """All ways of having some of each budget left, as numbers; and for each, the ones that have no more of anything."""

    def __init__(self, most: Left, reduce: bool) -> None:
        self.vectors = [Left(*v) for v in product(*(range(n + 1) for n in most))]
        self.numbers = {vector: number for number, vector in enumerate(self.vectors)}
        self.below = [
            sum(1 << n for n, other in enumerate(self.vectors) if all(map(operator.le, other, vector)))
            for vector in self.vectors
        ]
        if not reduce:
            self.below = [1 << n for n in range(len(self.vectors))]


class Search(Generic[E]):
    """One walk. `most_states` caps it; what is capped is not complete."""

    def __init__(
        self, moves: Walked[E], most: Left, *, most_states: int, seed: int = 0, progress: OnStates | None, reduce: bool
    ) -> None:
        self._moves = moves
        self._budgets = Budgets(most, reduce)
        self._most_states = most_states
        self._random = random.Random(seed) if seed else None
        self._progress = progress
        self._seen: dict[WorldState, int] = {}
        self._worlds: list[WorldState] = []
        self._left = array("I")
        self._parents = array("I")
        self.found: Found[E] = Found()

    def run(self, first: WorldState) -> Found[E]:
        """Visit every state that can be reached."""
        started = time.perf_counter()
        self._visit(first, len(self._budgets.vectors) - 1, 0)
        level = [0]
        while level and not self.found.violation and self.found.complete:
            if self._random:
                self._random.shuffle(level)
            level = self._level(level)
            self.found.depth += 1
        self.found.states = len(self._worlds)
        self.found.seconds = time.perf_counter() - started
        return self.found

    def _level(self, level: list[int]) -> list[int]:
        """One more event after each of these states."""
        first = len(self._worlds)
        for done, index in enumerate(level):
            if self._progress and done % EVERY == 0:
                self._progress(len(self._worlds), len(level) - done, self.found.depth)
            if len(self._worlds) >= self._most_states:
                self.found.complete = False
                break
            try:
                self._expand(index)
            except Violation as violation:
                self.found.violation = violation
                last = self._moves.event
                self.found.events = [*self.story(index), last]
                break
        return list(range(first, len(self._worlds)))

    def _expand(self, index: int) -> None:
        world, left = self._worlds[index], self._budgets.vectors[self._left[index]]
        numbers, seen, below = self._budgets.numbers, self._seen, self._budgets.below
        for _, after, rest in self._moves.after(world, left):
            self.found.transitions += 1
            number = numbers[rest]
            before = seen.get(after, 0)
            if not before >> number & 1:
                seen[after] = before | below[number]
                self._visit(after, number, index)

    def _visit(self, world: WorldState, left: int, parent: int) -> None:
        self._worlds.append(world)
        self._left.append(left)
        self._parents.append(parent)

    def story(self, index: int) -> list[E]:
        """The shortest way to a state, told again from the start."""
        path = [index]
        while path[-1]:
            path.append(self._parents[path[-1]])
        path.reverse()
        return [self._between(one, other) for one, other in pairwise(path)]

    def _between(self, index: int, after: int) -> E:
        world, left = self._worlds[index], self._budgets.vectors[self._left[index]]
        wanted = (self._worlds[after], self._budgets.vectors[self._left[after]])
        return next(event for event, *there in self._moves.after(world, left) if tuple(there) == wanted)

    def worlds(self) -> Sequence[WorldState]:
        """Every state visited, in the order of the visit."""
        return self._worlds


def peak_mib() -> float:
    """The most memory that this process has had so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

"""Simulated processes: a name in the context of everything that runs in one, so the loop knows whose step it is."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any

from choros.sources import Source, source

EPOCH = 1_790_000_000.0
"""What a clock that is right says when a simulation begins."""
LoopStep = tuple[asyncio.Handle, Context, Callable[..., object], tuple[Any, ...]]
"""What the loop calls next: the handle only says whether that is still wanted."""


@dataclass(slots=True, eq=False, repr=False)
class Process:
    """One life of a process: a crash ends it, and another begins under the same name."""

    name: str
    life: int = 1
    """1 for the first start, 2 after a crash."""
    alive: bool = True
    held: bool = False
    """Whether it stands still."""
    ready: deque[LoopStep] = field(default_factory=deque)
    steps: int = 0

    def __repr__(self) -> str:
        return f"{self.name}/{self.life}"


running: ContextVar[Process | None] = ContextVar("choros.simulation.process", default=None)
"""Whose code this is."""


class ProcessClock(Source):
    """What one process knows of time and chance."""

    def __init__(self, time: Callable[[], float], chance: random.Random, offset: Callable[[], float]) -> None:
        self._time = time
        self._chance = chance
        self._offset = offset

    def now(self) -> float:
        """By this process's clock, which may be wrong."""
        return EPOCH + self._time() + self._offset()

    def uniform(self, low: float, high: float) -> float:
        """Any number between the two."""
        return self._chance.uniform(low, high)

    def ten_bytes(self) -> bytes:
        """Ten bytes that follow from the seed."""
        return self._chance.getrandbits(80).to_bytes(10, "big")


def context_of(process: Process, clock: Source) -> Context:
    """Where everything that this process does begins."""
    context = copy_context()
    context.run(running.set, process)
    context.run(source.set, clock)
    return context

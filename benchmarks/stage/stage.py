"""One stage, and how it is measured."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

RABBITMQ, LOCAL = "rabbitmq + redis, services on sqlite", "memory + sqlite"
"""The two set-ups that stages are added up for."""
BOTH, PART = frozenset({RABBITMQ, LOCAL}), frozenset[str]()
"""What a stage belongs to; a part of others is not added up again."""
AT_ONCE = 32
"""How many of it go together, where that is so in a service that has a hundred sagas in flight."""
SAMPLE_SECONDS, MOST_SECONDS = 0.02, 0.2
"""Of processor time, measured; of time, with what is prepared for it."""


def nothing() -> None:
    """What most stages prepare."""


@dataclass(frozen=True)
class Stage:
    """Something that is done so many times for one saga."""

    name: str
    times: float
    wanted: float
    """Microseconds of processor time each, that the whole may cost what it shall."""
    count: int
    """How many of it `work` does."""
    work: Callable[[Any], Awaitable[object] | object]
    prepare: Callable[[], Awaitable[object] | object] = nothing
    """What `work` is given is made here, and that is not measured."""
    of: frozenset[str] = BOTH


def each(
    name: str,
    times: float,
    wanted: float,
    do: Callable[[Any], object],
    given: Sequence[Any],
    of: frozenset[str] = BOTH,
) -> Stage:
    """A function, on each of some values."""

    def work(_: object) -> None:
        for one in given:
            do(one)

    return Stage(name, times, wanted, len(given), work, of=of)


async def sampled(stage: Stage) -> float:
    """Microseconds each, of all threads of this process; waiting for a server is not counted."""
    spent, done, ends = 0.0, 0, time.perf_counter() + MOST_SECONDS
    while spent < SAMPLE_SECONDS and not (done and time.perf_counter() > ends):
        given = await _result(stage.prepare())
        began = time.process_time()
        await _result(stage.work(given))
        spent += time.process_time() - began
        done += stage.count
    return spent / done * 1e6


async def _result(answer: Awaitable[object] | object) -> object:
    return await answer if inspect.isawaitable(answer) else answer

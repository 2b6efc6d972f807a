"""The event loop of the simulated world: virtual time, processes, and ends without a `finally`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator
from contextvars import Context
from typing import Any

import pytest

from choros_verify.simulation.loop import OutOfSteps, SimLoop
from choros_verify.simulation.processes import Process, ProcessClock, context_of


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    made = SimLoop(random.Random(1), most_steps=10_000)
    yield made
    made.end()


def begin(loop: SimLoop, name: str, coroutine: Coroutine[Any, Any, None]) -> Process:
    process = Process(name)
    loop.create_task(coroutine, context=context(loop, process))
    return process


def context(loop: SimLoop, process: Process) -> Context:
    return context_of(process, ProcessClock(loop.time, random.Random(2), lambda: 0.0))


def never() -> bool:
    return False


def test_an_hour_passes_at_once(loop: SimLoop) -> None:
    seen: list[float] = []

    async def sleeper() -> None:
        await asyncio.sleep(3600)
        seen.append(loop.time())

    begin(loop, "a", sleeper())
    loop.run(never, 10_000)
    assert seen == [pytest.approx(3600, abs=1)]


def test_a_run_stops_at_its_horizon(loop: SimLoop) -> None:
    begin(loop, "a", asyncio.sleep(100))
    assert not loop.run(never, 50)
    assert loop.time() < 51


def test_within_a_process_all_runs_in_order_and_between_processes_in_any(loop: SimLoop) -> None:
    seen: list[str] = []

    async def speak(name: str) -> None:
        running = asyncio.get_running_loop()
        for number in range(20):
            running.call_soon(seen.append, f"{name}{number}")

    begin(loop, "a", speak("a"))
    begin(loop, "b", speak("b"))
    loop.run(never, 10)
    for name in "ab":
        assert [one for one in seen if one[0] == name] == [f"{name}{number}" for number in range(20)]
    assert seen != sorted(seen, key=lambda one: one[0])


def test_what_is_killed_runs_no_finally_while_the_world_goes_on(loop: SimLoop) -> None:
    seen: list[str] = []

    async def victim() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append(f"finally at {loop.time():.0f}")

    process = begin(loop, "victim", victim())

    async def bystander() -> None:
        await asyncio.sleep(5)
        loop.kill(process)
        await asyncio.sleep(2000)
        seen.append("still here")

    begin(loop, "bystander", bystander())
    loop.run(never, 5000)
    assert seen == ["still here"]


def test_who_stands_still_goes_on_where_it_was(loop: SimLoop) -> None:
    seen: list[int] = []

    async def worker() -> None:
        for _ in range(10):
            await asyncio.sleep(1)
            seen.append(int(loop.time()))

    process = begin(loop, "worker", worker())
    loop.call_later(3.5, loop.hold, process)
    loop.call_later(60, loop.release, process)
    loop.run(never, 1000)
    assert seen == [1, 2, 3, 60, 61, 62, 63, 64, 65, 66]


def test_going_round_in_circles_is_noticed(loop: SimLoop) -> None:
    async def circle() -> None:
        while True:
            await asyncio.sleep(0)

    begin(loop, "a", circle())
    with pytest.raises(OutOfSteps):
        loop.run(never, 1e9)


def test_what_nobody_caught_is_remembered(loop: SimLoop) -> None:
    loop.call_soon(lambda: 1 / 0)
    loop.run(never, 1)
    assert "ZeroDivisionError" in loop.trouble[0]


def test_a_stopped_timer_does_not_move_the_clock(loop: SimLoop) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(500):
            await asyncio.sleep(1)

    begin(loop, "a", in_time())
    loop.run(never, 1000)
    assert loop.time() < 2

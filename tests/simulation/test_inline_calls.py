"""What would run in threads runs in virtual time: in order, later, again, or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from choros_verify import Fault, RunPlan, Scene
from choros_verify.simulation.inline_calls import Gone, NotYet, current
from choros_verify.simulation.loop import SimLoop
from choros_verify.simulation.processes import Process, ProcessClock, context_of
from tests.simulation.trip import app


def simulated(*mains: Callable[[], Coroutine[Any, Any, None]], until: float = 60.0) -> list[str]:
    """Run these side by side, each in a process; what nobody caught."""
    loop = SimLoop(random.Random(7))
    tasks = []
    for main in mains:
        process = Process(main.__name__)
        context = context_of(process, ProcessClock(loop.time, random.Random(2), lambda: 0.0))
        tasks.append(loop.create_task(main(), context=context))
    loop.run(lambda: all(task.done() for task in tasks), until)
    errors = [str(task.exception()) for task in tasks if task.done() and task.exception()]
    loop.end()
    return [*errors, *loop.trouble]


def test_calls_of_one_executor_keep_their_order_and_take_time() -> None:
    seen = list[Any]()

    def square(number: int) -> int:
        seen.append(number)
        return number * number

    async def main() -> None:
        loop, executor = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        began = loop.time()
        answers = [loop.run_in_executor(executor, square, number) for number in range(5)]
        assert seen == [] and await asyncio.gather(*answers) == [0, 1, 4, 9, 16]
        assert await asyncio.to_thread(lambda: 7) == 7
        assert loop.time() > began

    assert simulated(main) == []
    assert seen == [0, 1, 2, 3, 4]


def test_one_that_has_to_wait_is_made_again_before_those_behind_it() -> None:
    seen = list[str]()

    def waits() -> float:
        call = current.get()
        assert call is not None
        seen.append("tried")
        if len(seen) < 4:
            raise NotYet
        return call.waited

    async def main() -> None:
        loop, executor = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        first = loop.run_in_executor(executor, waits)
        await loop.run_in_executor(executor, seen.append, "behind")
        assert 0 < first.result() <= loop.time()

    assert simulated(main) == []
    assert seen == ["tried"] * 4 + ["behind"]


def test_what_goes_wrong_reaches_whoever_waits_and_the_end_of_a_process_nobody() -> None:
    def fails() -> None:
        raise ValueError("no")

    def dies() -> None:
        raise Gone

    async def main() -> None:
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(fails)

    async def waits_for_ever() -> None:
        await asyncio.to_thread(dies)
        raise AssertionError

    assert simulated(main, waits_for_ever) == []


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, store="sqlite")


@pytest.mark.parametrize("statements", [0, 1, 3, 12])
@pytest.mark.parametrize("target", ["store", "hotel database"])
def test_a_process_dies_between_any_two_statements(scene: Scene, target: str, statements: float) -> None:
    """With 12 at the latest after the commit, whose answer nobody has then."""
    fault = Fault("killed", target, 2, statements)
    result = scene.examine(RunPlan(seed=3, store="sqlite", faults=(fault,)), story=True)
    assert (result.violations, result.struck, result.statuses) == ((), {"killed": 1}, {"completed": 1})
    assert any("crash of" in line for line in result.story)

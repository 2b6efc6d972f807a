"""What the state machines of this folder have in common: an event loop each, and how far they go.

`HYPOTHESIS_PROFILE=long` goes further, from a fresh seed; otherwise the same examples every time, so that what is red
in CI is red everywhere. Both print the steps that lead to a failure.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
T = TypeVar("T")


class AsyncMachine(RuleBasedStateMachine):
    """A state machine whose rules may wait: `self.run(coroutine)`."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end on this machine's own loop."""
        return self._loop.run_until_complete(coroutine)

    async def ended(self) -> None:
        """Let go of what this machine holds."""

    def teardown(self) -> None:
        try:
            self.run(self.ended())
            self.run(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


def explore(machine: Callable[[], RuleBasedStateMachine], examples: int, steps: int = 30, shrink: bool = True) -> None:
    """Run lives of a machine; raises what the first one that fails raises, with its steps (the fewest that do it)."""
    limits = settings(
        max_examples=examples * (30 if LONG else 1),
        stateful_step_count=steps * (2 if LONG else 1),
        derandomize=not LONG,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=limits)  # type: ignore[arg-type] # it only calls it


async def cut_off(coroutine: Coroutine[Any, Any, Any], after: int) -> None:
    """Start it, and cancel it after so many turns of the loop: whoever waits for it learns nothing."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(after):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

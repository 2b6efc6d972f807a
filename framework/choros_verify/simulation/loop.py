"""An event loop on virtual time: no thread, no socket, no waiting; which process runs next is drawn from a seed.

Within a process everything runs in the order that asyncio promises; between processes any order may come.
"""

import asyncio
import contextlib
import heapq
import random
import sys
import warnings
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVarTuple, Unpack

from choros_verify.simulation.inline_calls import InlineThread
from choros_verify.simulation.processes import LoopStep, Process, running

Ts = TypeVarTuple("Ts")


class OutOfSteps(Exception):
    """The run made more steps, or took more virtual time, than it ever should: something goes round in circles."""


class SimFuture(asyncio.Future[Any]):
    """A future that has its place in a set from its number, and not from where it lies in memory."""

    number = 0
    """Counted by the loop."""

    def __hash__(self) -> int:
        return self.number


class SimTask(asyncio.Task[Any]):
    """The same for a task."""

    def __init__(self, number: int, coro: Any, loop: asyncio.AbstractEventLoop, context: Context | None) -> None:
        self._number = number
        super().__init__(coro, loop=loop, name="task", context=context)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.BaseEventLoop):
    """Runs the steps of simulated processes one at a time. Same seed and same faults, same order."""

    def __init__(
        self, chance: random.Random, *, a_step: float = 1e-4, stays: float = 0.0, most_steps: int = 1_000_000
    ) -> None:
        super().__init__()
        self.steps = 0
        """Steps made so far."""
        self._chance = chance.random
        self._now = 0.0
        self._a_step = a_step
        self._stays = stays
        self._most_steps = most_steps
        self.outside = Process("world")
        """Whatever belongs to no process; nothing strikes it."""
        self._last = self.outside
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, Process, LoopStep]] = []
        self._numbered = self._made = 0
        self._tasks: list[tuple[asyncio.Task[Any], Any]] = []
        self._threads: dict[Any, InlineThread] = {}
        self._over = False
        self.before_step: Callable[[Process], bool] = lambda _: True
        """Asked before every step; False means that this process just ended, or stands still."""
        self.trouble: list[str] = []
        """What nobody caught: each is a bug of the runtime, or of the simulation."""

    # --- what asyncio asks for ---

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Put a step at the end of its process's queue."""
        if context is None:
            context = copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        process = context.get(running) or self.outside
        self._add(process, (handle, context, callback, args))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a step after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a step at that moment."""
        if context is None:
            context = copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        process = context.get(running) or self.outside
        self._numbered += 1
        heapq.heappush(self._timers, (when, self._numbered, process, (handle, context, callback, args)))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future that is numbered."""
        self._made += 1
        future = SimFuture(loop=self)
        future.number = self._made
        return future

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **more: Any
    ) -> asyncio.Task[Any]:
        """A task, kept until the end: nobody's `finally` may run because something was collected."""
        self._made += 1
        task = SimTask(self._made, coro, self, context)
        self._tasks.append((task, coro))
        return task

    def run_in_executor(  # type: ignore[override]  # what it calls may be anything
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Make this call at a later moment, in the order of the executor; where there is none, in any order."""
        thread = self._threads.get(executor) or InlineThread(self, self._chance)
        if executor is not None:
            self._threads[executor] = thread
        return thread.submit(partial(func, *args))

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remember what nobody caught."""
        error = context.get("exception")
        self.trouble.append(f"{context.get('message', '')} {type(error).__name__}: {error}")

    def get_debug(self) -> bool:
        """Never: asyncio would look at wall clocks."""
        return False

    # --- processes ---

    def _add(self, process: Process, step: LoopStep) -> None:
        if not process.alive or self._over:
            return
        if not process.ready and not process.held:
            self._runnable.append(process)
        process.ready.append(step)

    def hold(self, process: Process) -> None:
        """Let it stand still."""
        process.held = True
        if process in self._runnable:
            self._runnable.remove(process)

    def release(self, process: Process) -> None:
        """Let it go on."""
        process.held = False
        if process.alive and process.ready and process not in self._runnable:
            self._runnable.append(process)

    def kill(self, process: Process) -> None:
        """It never makes another step; what it was in the middle of stays as it is."""
        self.hold(process)
        process.alive = False
        process.ready.clear()

    # --- running ---

    def run(self, over: Callable[[], bool], until: float) -> bool:
        """Run until `over` says so, asked whenever nothing is ready; or until that moment, and then False."""
        asyncio._set_running_loop(self)
        try:
            while True:
                while self._runnable:
                    self._make_a_step()
                if over():
                    return True
                if not self._jump(until):
                    return False
        finally:
            asyncio._set_running_loop(None)

    def _make_a_step(self) -> None:
        runnable, process = self._runnable, self._last
        if self._stays == 0.0 or not (process.ready and not process.held and self._chance() < self._stays):
            process = runnable[int(self._chance() * len(runnable))] if len(runnable) > 1 else runnable[0]
            self._last = process
        if process is not self.outside and not self.before_step(process):
            return
        handle, context, callback, args = process.ready.popleft()
        if not process.ready:
            runnable.remove(process)
        if handle.cancelled():
            return
        self.steps += 1
        process.steps += 1
        self._now += self._a_step
        try:
            context.run(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"message": f"in a callback of {process}", "exception": error})
        if self._timers and self._timers[0][0] <= self._now:
            self._wake()
        if self.steps >= self._most_steps:
            raise OutOfSteps(f"{self.steps} steps, and no end in sight.")

    def _jump(self, until: float) -> bool:
        """Nothing is ready: go to the next moment at which something will be."""
        timers = self._timers
        while timers and (timers[0][3][0].cancelled() or not timers[0][2].alive):
            heapq.heappop(timers)
        if not timers or timers[0][0] > until:
            return False
        self._now = max(self._now, timers[0][0])
        self._wake()
        return True

    def _wake(self) -> None:
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            _, _, process, step = heapq.heappop(timers)
            if not step[0].cancelled():
                self._add(process, step)

    # --- the end ---

    def end(self) -> None:
        """Let go of every task. What their `finally` blocks still want to do reaches nobody any more."""
        self._over = True
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        asyncio._set_running_loop(self)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._close_tasks()
        finally:
            asyncio._set_running_loop(None)
            sys.unraisablehook = hook
        self._timers.clear()
        self.close()

    def _close_tasks(self) -> None:
        for task, coroutine in self._tasks:  # to which a `finally` may add another
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio itself does
                with contextlib.suppress(BaseException):
                    coroutine.close()
        self._tasks.clear()

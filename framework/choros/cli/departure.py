"""How a process that runs a role ends: in order, within its time, and by force where something does not let it.

A handler may swallow its cancellation, sit in a thread that nobody can stop, or keep the loop from turning. None of
these may keep a process that was told to end: a supervisor would kill it in the end, and nobody would learn what held
it. So a thread counts the time; it needs neither the loop nor the main thread.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from choros.cli.exit_codes import CUT_SHORT, exit_code
from choros.roles.roles import CallsLeft, OnBegun
from choros.telemetry.logs import frames_of, get_logger

log = get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CLOSING_SECONDS = 5.0
"""After the drain: for what is cut off to clean up, and for closing stores and connections."""
LAST_SECONDS = 1.0
"""Once all is closed, for what a call that was cut off has left in a thread."""
_LOG_SECONDS = 1.0
"""The log may be what is stuck."""


class Leaving:
    """Within it a first SIGTERM or Ctrl-C ends the role in order, a second one of the same kind the process, at once.
    A terminal sends Ctrl-C to a whole group, and whoever leads that then tells the others once more, with SIGTERM.

    `owns_process`: whether this process may be ended by force."""

    owns_process = False

    def __init__(self, drain: float) -> None:
        self._seconds = drain + CLOSING_SECONDS
        self._stop: Callable[[], None] | None = None
        self._unfinished: CallsLeft = list
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._error: Exception | None = None
        self._told_by: set[int] = set()
        self._pid = os.getpid()
        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()  # the one thing that a signal handler may write to
        self._before: dict[signal.Signals, Any] = {}
        self.watching = threading.Thread(target=self._watch, name="choros-leaving", daemon=True)
        """Counts the time."""

    def __enter__(self) -> Leaving:
        self.watching.start()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        if Leaving.owns_process:
            return  # what is left in a thread may yet keep the interpreter
        self._heard.put("over")
        for number, handler in self._before.items():
            signal.signal(number, handler)

    async def stay(self, role: Callable[[OnBegun], Awaitable[None]]) -> None:
        """Run the role until it ends, by itself or because it was told to."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._told_by:
            return
        try:
            await role(self._begun)
        except asyncio.CancelledError:
            if not self._told_by:
                raise
        except Exception as error:
            self._error = error
            raise
        finally:
            self._heard.put("ended")

    def _begun(self, stop: Callable[[], None], unfinished: CallsLeft) -> None:
        self._stop, self._unfinished = stop, unfinished
        if self._told_by:
            stop()

    # --- being told ---

    def _hear(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a process that a handler has forked: it has no role to end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif number not in self._told_by:
            self._told_by.add(number)
            self._heard.put("told")
        else:
            os.write(2, "✖ Told twice: ended at once.\n".encode())
            os._exit(128 + number)

    def _watch(self) -> None:
        """In a thread of its own."""
        word = self._heard.get()
        if word == "told":
            self._pass_on()
        began = time.monotonic()
        deadline = began + self._seconds
        while word != "over":
            if word == "ended" and self._unfinished():  # all else is closed, and these have had their time
                deadline = min(deadline, time.monotonic() + LAST_SECONDS)
            try:
                word = self._heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                word = "over"
                self._cut_short(time.monotonic() - began)

    def _pass_on(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._end_in_order)

    def _end_in_order(self) -> None:
        if self._stop is not None:
            self._stop()
        elif self._task is not None:  # it is still connecting
            self._task.cancel()

    # --- by force ---

    def _cut_short(self, seconds: float) -> None:
        if Leaving.owns_process:
            saying = threading.Thread(target=self._say, args=(seconds,), daemon=True)
            saying.start()
            saying.join(_LOG_SECONDS)
            os._exit(exit_code(self._error) if self._error else CUT_SHORT)

    def _say(self, seconds: float) -> None:
        log.error(
            "choros.process.cut_short",
            seconds=round(seconds, 1),
            handlers=list(self._unfinished()),
            threads=at_work(),
            why="it did not end in time; what was under way comes again",
            **({"error": self._error} if self._error else {}),
        )


def at_work() -> list[str]:
    """Where the threads are that keep the interpreter: a line for each, innermost call last."""
    stacks = sys._current_frames()
    held = [thread for thread in threading.enumerate() if not thread.daemon and thread.ident in stacks]
    found = [(thread.name, frames_of(stacks[thread.ident])) for thread in held if thread.ident is not None]
    return [f"{name}: {' > '.join(lines)}" for name, lines in found if not _waits(lines[-1])]


def _waits(line: str) -> bool:
    """Whether it is a thread of a pool that has nothing to do (one that is in a function of C is in `run`), or whoever
    waits for one."""
    return line.startswith("threading.py") or (line.startswith("thread.py") and line.endswith(" _worker"))

"""An event loop that waits for nobody: where nothing from outside can come, time that a test waits for passes at once.

Nothing can come from outside as long as no socket is open and no thread runs that was not there before the loop. Then
whatever is next is the next timer, so the clock is put forward to it. With either, time passes as it does everywhere.
A busy machine changes nothing, since neither sleeping nor a limit depends on how long anything takes.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time


class _Impatient(selectors.DefaultSelector):
    """What a loop asks whether something has come, at most so many seconds from now."""

    skipped = 0.0
    """Seconds that nobody had to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = frozenset(threading.enumerate())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not timeout or timeout < 0 or self._others():
            return super().select(timeout)
        if events := super().select(0):
            return events
        self.skipped += timeout
        return []

    def _others(self) -> bool:
        """Whether somebody else can make something happen; the loop itself has one socket, to be woken by."""
        return len(self.get_map()) > 1 or not self._threads.issuperset(threading.enumerate())


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, never behind the system's."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    @property
    def skipped(self) -> float:
        """Seconds by which its clock is ahead of the system's."""
        return self._impatient.skipped

    def time(self) -> float:
        """Seconds, as `time.monotonic()`, and what was skipped."""
        return super().time() + self.skipped


def now() -> float:
    """Seconds since the epoch, by the clock of whatever loop runs here."""
    loop = asyncio._get_running_loop()
    return time.time() + (loop.skipped if isinstance(loop, VirtualTimeLoop) else 0.0)

"""Calling a handler that is no coroutine: in a thread, whose transaction the loop works for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from choros.errors import ChorosError

Awaiting = Callable[[Awaitable[Any]], Any]
"""What the loop is asked to await, from the thread of a handler; it says what that comes to, or raises it."""
Blocking = Callable[[Awaiting], Any]
Run = Callable[[Blocking], Awaitable[Any]]


class CutOff(ChorosError):
    """The call of a handler has ended for everybody else; its thread may use its transaction no more."""

    def __init__(self) -> None:
        super().__init__("This call was cut off, so its transaction is over.", "let the handler end.")


@dataclass(frozen=True, slots=True)
class Ended:
    """What something in a thread came to."""

    result: Any = None
    error: BaseException | None = None

    def value(self) -> Any:
        """What it returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.result


def end_of(work: Blocking, wait: Awaiting) -> Ended:
    """Do it here. Whatever it raises is kept: a future would not take a StopIteration."""
    try:
        return Ended(work(wait))
    except BaseException as error:
        return Ended(error=error)


async def in_turns(work: Blocking) -> Any:
    """In a thread of its own, while the loop stands still but for what the handler waits for: nothing happens side by
    side, so the same seed is the same run."""
    turns = _Handoff(work)
    threading.Thread(target=copy_context().run, args=(turns.run,), daemon=True).start()
    while not isinstance(said := turns.asked.get(), Ended):
        try:
            turns.told.put(Ended(await said))
        except BaseException as error:
            turns.told.put(Ended(error=error))
            if not isinstance(error, Exception):
                turns.end()
                raise
    return said.value()


class _Handoff:
    """Who has the turn waits for nobody; the other one waits to be told something."""

    def __init__(self, work: Blocking) -> None:
        self._work = work
        self._over = False
        self.asked: queue.SimpleQueue[Awaitable[Any] | Ended] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    def run(self) -> None:
        self.asked.put(end_of(self._work, self._wait))

    def _wait(self, awaitable: Awaitable[Any]) -> Any:
        if self._over:
            raise CutOff
        self.asked.put(awaitable)
        return self.told.get().value()

    def end(self) -> None:
        """Whoever awaits is to await nothing more; the thread has its last turn."""
        self._over = True
        while not isinstance(self.asked.get(), Ended):
            pass

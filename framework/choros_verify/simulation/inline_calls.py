"""What would run in threads: each call at a moment of its own, all of it in one step of its process.

A call that has to wait in the middle, as for a lock, is given up and made again later: so it must not have done
anything by then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Chance = Callable[[], float]
SOON = 0.003
"""Seconds until a call is made, at most."""
AGAIN = 0.2
"""And until it is made again, at most."""


class NotYet(BaseException):
    """The call that is being made has to wait, and is made again."""


class Gone(BaseException):
    """The process that makes the call is no more."""


class InlineCall:
    """One call, and whoever waits for it."""

    def __init__(self, work: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        self.work, self.answer = work, answer
        self.waited = 0.0
        """Seconds that it has waited for something in the middle."""
        self.late = 0.0
        """Seconds by which its answer comes later."""

    def settle(self, result: Any, error: Exception | None) -> None:
        """Tell whoever waits."""
        if not self.answer.done():
            self.answer.set_result(result) if error is None else self.answer.set_exception(error)


current: ContextVar[InlineCall | None] = ContextVar("choros.simulation.inline", default=None)
"""The call that is being made."""


class InlineThread:
    """The calls for one thread, one after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: Chance) -> None:
        self._loop, self._chance = loop, chance
        self._calls: deque[InlineCall] = deque()

    def submit(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Make this call when those before it are over."""
        call = InlineCall(work, self._loop.create_future())
        self._calls.append(call)
        if len(self._calls) == 1:
            self._next(SOON)
        return call.answer

    def _next(self, within: float) -> float:
        seconds = within * self._chance()
        self._loop.call_later(seconds, self._make)
        return seconds

    def _make(self) -> None:
        call, result, failed = self._calls[0], None, None
        token = current.set(call)
        try:
            result = call.work()
        except NotYet:
            call.waited += self._next(AGAIN)
            return
        except Gone:
            return
        except Exception as error:
            failed = error
        finally:
            current.reset(token)
        if call.late:
            self._loop.call_later(call.late, self._over, result, failed)
        else:
            self._over(result, failed)

    def _over(self, result: Any, error: Exception | None) -> None:
        self._calls.popleft().settle(result, error)
        if self._calls:
            self._next(SOON)

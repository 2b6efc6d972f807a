"""Patience with a broker or store that is away when a role starts, or is lost while it does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from choros.errors import Unreachable
from choros.sources import full_jitter
from choros.telemetry.logs import get_logger

log = get_logger("choros.start")

T = TypeVar("T")
LONGEST_PAUSE = 3.0


class Waiting:
    """How long one start waits, in all; said once for each server, and once more when it goes on."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._said: set[type[Unreachable]] = set()

    async def until(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What the attempt comes to once its server is there; raises Unreachable when the time is over."""
        for pause in full_jitter(most=LONGEST_PAUSE):
            try:
                done = await attempt()
            except Unreachable as away:
                if self._is_over(away):
                    raise
                await asyncio.sleep(pause)
            else:
                self._go_on()
                return done
        raise AssertionError("unreachable")

    def _is_over(self, away: Unreachable) -> bool:
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        left = self._since + self._seconds - now
        if left > 0 and type(away) not in self._said:
            self._said.add(type(away))
            log.warning("choros.start.waiting", why=away.sentence, seconds=round(left))
        return left <= 0

    def _go_on(self) -> None:
        if self._since is not None:
            seconds = asyncio.get_running_loop().time() - self._since
            log.info("choros.start.going_on", seconds=round(seconds, 1))
            self._since, self._said = None, set()

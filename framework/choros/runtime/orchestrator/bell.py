"""A bell: rung at once or at a moment, it wakes whoever waits for it."""

import asyncio
import contextlib
import math

SOON = 2.0
"""Seconds: what is further away, nobody has to be woken for to the moment."""
_GRAIN = 0.01


class Bell:
    """For one who waits."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._moments: set[int] = set()

    def ring(self) -> None:
        """Now."""
        self._rung.set()

    def ring_in(self, seconds: float) -> None:
        """Soon, to a hundredth of a second; many at the same moment cost what one does."""
        loop = asyncio.get_running_loop()
        moment = math.ceil((loop.time() + seconds) / _GRAIN)
        if seconds < SOON and moment not in self._moments:
            self._moments.add(moment)
            loop.call_at(moment * _GRAIN, self._strike, moment)

    def _strike(self, moment: int) -> None:
        self._moments.discard(moment)
        self._rung.set()

    async def wait(self, at_most: float) -> None:
        """Until it rings, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._rung.wait()
        self._rung.clear()

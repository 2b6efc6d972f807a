"""Whoever receives by `Arrivals`: here it waits for them, and under load for the end of a burst."""

import asyncio
from typing import Generic

from choros.transport.arrivals import A, Arrivals, Pace


class Recipient(Generic[A]):
    """Takes what has come for one consumer; one with a `pace` waits for more where it comes fast."""

    def __init__(self, arrivals: Arrivals[A], pace: Pace | None = None) -> None:
        self.arrivals, self._pace = arrivals, pace
        self._came = asyncio.Event()
        arrivals.wake = self._came.set

    async def receive(self, limit: int) -> list[A]:
        """Wait for at least one delivery, then take all that are waiting, at most `limit`; none once it is closed."""
        arrivals, pace = self.arrivals, self._pace
        taken: list[A] = []
        while not taken and not arrivals.closed:
            while not arrivals.waiting and not arrivals.ready:
                self._came.clear()
                await self._came.wait()
            if pace is not None and pace.is_busy(asyncio.get_running_loop().time()):
                for seconds in arrivals.pauses(limit):
                    await asyncio.sleep(seconds)  # meanwhile a lost connection may have taken everything away again
            taken = arrivals.take(limit)
        if pace is not None:
            pace.count(len(taken), asyncio.get_running_loop().time())
        return taken

"""Whoever publishes posts by `Sending`: here it waits for the answers, and here its timers run."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic

from choros.transport.doubt import PROBE_SECONDS
from choros.transport.port import Published
from choros.transport.sending import Destination, Post, Sending, Sheaf, T


class Sender(ABC, Generic[T]):
    """The order of those posts that have one, and an answer for each, in time."""

    def __init__(
        self,
        ticket: Callable[[Post, Sheaf[T], int], T],
        doubted: Callable[[str, bool], None] = lambda destination, doubted: None,
        may_doubt: Callable[[], bool] = lambda: True,
        detour: Callable[[str], str] | None = None,
    ) -> None:
        self.sending = Sending(self._ready, ticket, doubted, detour)
        self._may_doubt = may_doubt
        """Whether an answer that does not come is the fault of its destination."""

    @abstractmethod
    def _ready(self, there: Destination[T]) -> None:
        """Something may fly there, or would like to: `fly` says what."""

    async def publish(self, posts: Sequence[Post], patience: float) -> list[Published]:
        """One answer for each, in order, within so many seconds. Cancelling the call cancels no publish."""
        batch, loop = self.sending.begin(posts, patience), asyncio.get_running_loop()
        if batch.over:
            await asyncio.sleep(0)  # who tries again at once must not keep the broker's answers from being read
        elif posts:
            done = loop.create_future()
            batch.then = partial(_end, done)
            timer = loop.call_later(patience, self._expire, batch)
            try:
                await done
            finally:
                timer.cancel()
                batch.over = True
        return [answer or Published.UNKNOWN for answer in batch.answers]

    def fly(self, there: Destination[T]) -> T | None:
        """What is to be written now, if anything may fly there."""
        loop = asyncio.get_running_loop()
        ticket = self.sending.next(there, loop.time())
        if ticket is not None and there.doubt.held:
            loop.call_later(PROBE_SECONDS, self.sending.overdue, ticket)
        return ticket

    def lose_all(self) -> None:
        """The connection is gone, with all that flew."""
        for there in list(self.sending.destinations.values()):
            self.sending.lost(there)

    def _expire(self, batch: Sheaf[T]) -> None:
        self.sending.expire(batch, asyncio.get_running_loop().time(), may_doubt=self._may_doubt())


def _end(done: asyncio.Future[None]) -> None:
    if not done.done():  # whoever waited may have been cancelled
        done.set_result(None)

"""Sending: posts, each on a ticket, those of one call in a batch, those of one order one behind the other."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from choros.transport.port import Published
from choros.transport.rabbitmq.doubt import SETTLED_WELL
from choros.wire.envelope import Envelope, Wire


class Post(NamedTuple):
    """One message and where it goes. Of those with the same `order`, each waits for the one before."""

    exchange: str
    key: str
    message: Envelope | Wire
    order: tuple[str, str] | None = None


class Ticket:
    """One publish."""

    __slots__ = ("batch", "follower", "position", "post", "queued", "sent_at", "settled")

    def __init__(self, post: Post, batch: Batch[Any], position: int) -> None:
        self.post = post
        self.batch = batch
        self.position = position
        self.follower: Any = None
        self.sent_at = 0.0
        self.queued = False
        """Whether its turn has come: nothing of its order is before it."""
        self.settled = False


T = TypeVar("T", bound=Ticket)


class Batch(Generic[T]):
    """The answers of one call, in order."""

    __slots__ = ("_left", "answers", "done", "patience", "tickets")

    def __init__(self, posts: Sequence[Post], patience: float, ticket: Callable[[Post, Batch[T], int], T]) -> None:
        self.answers: list[Published | None] = [None] * len(posts)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.patience = patience
        self.tickets = [ticket(post, self, position) for position, post in enumerate(posts)]
        self._left = len(posts)

    def answer(self, position: int, published: Published) -> None:
        """The answer to one of them; only the first counts."""
        if self.answers[position] is None:
            self.answers[position] = published
            self._left -= 1
            if not self._left:
                self._finish()

    def expire(self) -> None:
        """Time is up: what has no answer yet is unknown."""
        self.answers = [answer or Published.UNKNOWN for answer in self.answers]
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Sender(ABC, Generic[T]):
    """Whoever publishes posts: the order of those that have one, and an answer for each, in time."""

    def __init__(self) -> None:
        self._tails: dict[tuple[str, str], T] = {}
        self._refused: deque[T] = deque()
        self._refusing = False

    @abstractmethod
    def _ticket(self, post: Post, batch: Batch[T], position: int) -> T: ...

    @abstractmethod
    def _put(self, ticket: T) -> None:
        """Its turn has come."""

    @abstractmethod
    def _give_up_on(self, batch: Batch[T], late: Sequence[T]) -> None:
        """What has not been sent will not be; where these went, something is wrong."""

    async def publish(self, posts: Sequence[Post], patience: float) -> list[Published]:
        """One answer for each, in order, within so many seconds. Cancelling the call cancels no publish."""
        if not posts:
            return []
        batch = Batch(posts, patience, self._ticket)
        # All of them in line before the first is put: that one may be refused on the spot, and none may overtake it.
        for ticket in [ticket for ticket in batch.tickets if self._line_up(ticket)]:
            self._put(ticket)
        timer = asyncio.get_running_loop().call_later(patience, self._expire, batch)
        try:
            if batch.done.done():
                await asyncio.sleep(0)  # who tries again at once must not keep the broker's answers from being read
            await batch.done
        finally:
            timer.cancel()
        return [answer or Published.UNKNOWN for answer in batch.answers]

    def settle(self, ticket: T, published: Published) -> None:
        """Note the answer, and let the next of the same order go."""
        if ticket.settled:
            return
        ticket.settled = True
        ticket.batch.answer(ticket.position, published)
        if ticket.post.order is not None:
            self._let_follow(ticket, ticket.post.order, published)

    def refuse(self, ticket: T) -> None:
        """It is unknown. Those that follow it come here in their turn."""
        self._refused.append(ticket)
        if self._refusing:
            return
        self._refusing = True
        try:
            while self._refused:
                self._settle_refused(self._refused.popleft())
        finally:
            self._refusing = False

    def _settle_refused(self, ticket: T) -> None:
        self.settle(ticket, Published.UNKNOWN)

    def _line_up(self, ticket: T) -> bool:
        """Behind the last of the same order; whether it is the first of it."""
        order = ticket.post.order
        if order is None:
            return True
        tail, self._tails[order] = self._tails.get(order), ticket
        if tail is not None:
            tail.follower = ticket
        return tail is None

    def _let_follow(self, ticket: T, order: tuple[str, str], published: Published) -> None:
        """After a failure the rest of the same batch must not overtake it: it fails as well, unsent."""
        follower = ticket.follower
        if published not in SETTLED_WELL:
            while follower is not None and follower.batch is ticket.batch:
                follower.batch.answer(follower.position, Published.UNKNOWN)
                follower = follower.follower
        if follower is not None:
            self._put(follower)
        else:
            self._tails.pop(order, None)

    def _expire(self, batch: Batch[T]) -> None:
        """Time is up: what has no answer yet is unknown, and what has not been sent will not be."""
        batch.expire()
        late = [ticket for ticket in batch.tickets if ticket.queued and not ticket.settled]
        self._give_up_on(batch, late)
        for ticket in late:
            self.refuse(ticket)

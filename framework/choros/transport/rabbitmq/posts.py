"""What a lane publishes: posts, each on a ticket, those of one call in a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from aiormq import Channel
from pamqp import commands

from choros.transport.port import Published
from choros.wire.envelope import Envelope, Wire


class Post(NamedTuple):
    """One message and where it goes. Of those with the same `order`, each waits for the one before."""

    exchange: str
    key: str
    message: Envelope | Wire
    order: tuple[str, str] | None = None


class Batch:
    """The answers of one call, in order."""

    __slots__ = ("_left", "answers", "done", "patience", "tickets")

    def __init__(self, posts: Sequence[Post], patience: float) -> None:
        self.answers: list[Published | None] = [None] * len(posts)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.patience = patience
        self.tickets = [Ticket(post, self, position) for position, post in enumerate(posts)]
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


class Listener(Protocol):
    """Whoever sent a ticket."""

    def hear(self, ticket: Ticket, published: Published) -> None:
        """The broker has answered."""
        ...


class Ticket:
    """One publish. aiormq settles it in the place of a future, hence the names of its methods."""

    __slots__ = (
        "batch", "channel", "follower", "message_id", "position",
        "post", "queued", "sent_at", "settled", "way",
    )  # fmt: skip

    def __init__(self, post: Post, batch: Batch, position: int) -> None:
        self.post = post
        self.batch = batch
        self.position = position
        self.follower: Ticket | None = None
        self.way: Listener | None = None
        self.channel: Channel | None = None
        """While it is in flight."""
        self.message_id = ""
        self.sent_at = 0.0
        self.queued = False
        """Whether its turn has come: nothing of its order is before it."""
        self.settled = False

    def done(self) -> bool:
        """Whether no answer is awaited."""
        return self.channel is None

    def cancelled(self) -> bool:
        """Never."""
        return False

    def set_result(self, frame: object) -> None:
        """It was confirmed, or came back."""
        self._hear(Published.CONFIRMED if isinstance(frame, commands.Basic.Ack) else Published.RETURNED)

    def set_exception(self, _: object) -> None:
        """It was refused."""
        self._hear(Published.NACKED)

    def _hear(self, published: Published) -> None:
        if self.way is not None:
            self.way.hear(self, published)

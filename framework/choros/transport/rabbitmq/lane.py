"""A lane: one confirmed channel for one kind of message, so that no kind can stop another.

All that is waiting is written in one go and all confirms are in flight together, up to a window. aiormq's own
`basic_publish` costs a task, a lock and several futures for each message, in all four times the processor
time (measured). Its bookkeeping of confirms and returns is used as it is: `delivery_tag`, `confirmations`,
`message_id_delivery_tag` and `write_queue` of `aiormq.Channel`.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, NamedTuple, cast

import structlog
from aiormq import Channel
from aiormq.abc import AbstractConnection, ChannelFrame
from pamqp import commands

from choros.envelope import Envelope, Wire, encode
from choros.transport.port import Published
from choros.transport.rabbitmq.frames import UNENCODABLE, publish_frames
from choros.transport.rabbitmq.tasks import end

WINDOW = 1000
"""Publishes without an answer on one channel."""
_CHUNK = 64 * 1024
"""Bytes written at once; heartbeats and the other lanes come in between."""
_REOPEN_SECONDS = (0.05, 0.3)
_SETTLED_WELL = (Published.CONFIRMED, Published.RETURNED)

_log = structlog.get_logger(__name__)


class Post(NamedTuple):
    """One message and where it goes. Of those with the same `order`, each waits for the one before."""

    exchange: str
    key: str
    message: Envelope | Wire
    order: tuple[str, str] | None = None


class _Batch:
    """The answers of one call, in order."""

    __slots__ = ("_left", "answers", "done", "expired")

    def __init__(self, size: int) -> None:
        self.answers: list[Published | None] = [None] * size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.expired = False
        self._left = size

    def answer(self, position: int, published: Published) -> None:
        if self.answers[position] is None:
            self.answers[position] = published
            self._left -= 1
            if not self._left:
                self._finish()

    def expire(self) -> None:
        """Time is up: what has no answer yet is unknown."""
        self.answers = [answer or Published.UNKNOWN for answer in self.answers]
        self.expired = True
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class _Ticket:
    """One publish. aiormq settles it in the place of a future, hence the names of its methods."""

    __slots__ = ("_lane", "batch", "channel", "follower", "message_id", "position", "post")

    def __init__(self, lane: Lane, post: Post, batch: _Batch, position: int) -> None:
        self._lane = lane
        self.post = post
        self.batch = batch
        self.position = position
        self.follower: _Ticket | None = None
        self.channel: Channel | None = None
        self.message_id = ""

    def done(self) -> bool:
        return self.channel is None

    def cancelled(self) -> bool:
        return False

    def set_result(self, frame: object) -> None:
        confirmed = isinstance(frame, commands.Basic.Ack)
        self._lane.settle(self, Published.CONFIRMED if confirmed else Published.RETURNED)

    def set_exception(self, _: object) -> None:
        self._lane.settle(self, Published.NACKED)


class Lane:
    """Publishes on one channel of whatever connection it is served with."""

    def __init__(
        self, name: str, repair: Callable[[AbstractConnection], Awaitable[None]], window: int = WINDOW
    ) -> None:
        self.name = name
        self._repair = repair
        self._window = window
        self._waiting: deque[_Ticket] = deque()
        self._flying: set[_Ticket] = set()
        self._tails: dict[tuple[str, str], _Ticket] = {}
        self._wake = asyncio.Event()
        # Unique without asking the system for every message: aiormq matches returns by this id.
        self._ids = map(f"{uuid.uuid4().hex[:20]}{{:012x}}".format, count())

    async def publish(self, posts: Sequence[Post], patience: float) -> list[Published]:
        """One answer for each, in order, within so many seconds. Cancelling the call cancels no publish."""
        if not posts:
            return []
        batch = _Batch(len(posts))
        for position, post in enumerate(posts):
            self._queue(_Ticket(self, post, batch, position))
        self._wake.set()
        timer = asyncio.get_running_loop().call_later(patience, batch.expire)
        try:
            await batch.done
        finally:
            timer.cancel()
            if batch.expired:
                self._forget(batch)
        return [answer or Published.UNKNOWN for answer in batch.answers]

    def _forget(self, batch: _Batch) -> None:
        """Nobody waits for these any more; while there is no connection they would only pile up."""
        late = [ticket for ticket in self._waiting if ticket.batch is batch]
        self._waiting = deque(ticket for ticket in self._waiting if ticket.batch is not batch)
        for ticket in late:
            self.settle(ticket, Published.UNKNOWN)

    async def serve(self, connection: AbstractConnection) -> None:
        """Publish on this connection; a channel that the broker closes is opened again."""
        while True:
            channel = cast(Channel, await connection.channel(on_return_raises=False, timeout=10))
            closing = channel.closing
            writer = asyncio.create_task(self._write(channel))
            try:
                await asyncio.wait({writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                try:
                    await end({writer})
                finally:  # the link may cancel us right here
                    self._give_up_flying()
            _log.warning("broker.publish_channel_lost", lane=self.name, why=_why(closing))
            await asyncio.sleep(random.uniform(*_REOPEN_SECONDS))
            await self._repair(connection)

    def close(self) -> None:
        """Answer all who still wait: unknown."""
        while self._waiting:
            self.settle(self._waiting.popleft(), Published.UNKNOWN)

    def settle(self, ticket: _Ticket, published: Published) -> None:
        """Note the answer, and let the next of the same order go."""
        if ticket.channel is not None:
            ticket.channel.message_id_delivery_tag.pop(ticket.message_id, None)
            ticket.channel = None
            self._flying.discard(ticket)
        ticket.batch.answer(ticket.position, published)
        if ticket.post.order is not None:
            self._let_follow(ticket, ticket.post.order, published)
        self._wake.set()

    def _queue(self, ticket: _Ticket) -> None:
        order = ticket.post.order
        if order is not None:
            tail, self._tails[order] = self._tails.get(order), ticket
            if tail is not None:
                tail.follower = ticket
                return
        self._waiting.append(ticket)

    def _let_follow(self, ticket: _Ticket, order: tuple[str, str], published: Published) -> None:
        """After a failure the rest of the same batch must not overtake it: it fails as well, unsent."""
        follower = ticket.follower
        if published not in _SETTLED_WELL:
            while follower is not None and follower.batch is ticket.batch:
                follower.batch.answer(follower.position, Published.UNKNOWN)
                follower = follower.follower
        if follower is not None:
            self._waiting.append(follower)
        else:
            self._tails.pop(order, None)

    async def _write(self, channel: Channel) -> None:
        loop = asyncio.get_running_loop()
        while True:
            chunk = self._next_chunk(channel)
            if not chunk:
                self._wake.clear()
                await self._wake.wait()
                continue
            drained = loop.create_future()
            await channel.write_queue.put(ChannelFrame(chunk, should_close=False, drain_future=drained))
            await drained

    def _next_chunk(self, channel: Channel) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._waiting and len(self._flying) < self._window and size < _CHUNK:
            frames = self._frames(channel, self._waiting.popleft())
            parts += frames
            size += sum(map(len, frames))
        return b"".join(parts)

    def _frames(self, channel: Channel, ticket: _Ticket) -> list[bytes]:
        """The frames of one publish, which from now on is in flight; none if there is nothing to send."""
        if ticket.batch.done.done():
            self.settle(ticket, Published.UNKNOWN)
            return []
        exchange, key, message, _ = ticket.post
        ticket.message_id = next(self._ids)
        try:
            wire = message if isinstance(message, Wire) else encode(message)
            frame_max = channel.connection.connection_tune.frame_max
            frames = publish_frames(channel.number, frame_max, exchange, key, wire, ticket.message_id)
        except UNENCODABLE as failure:
            _log.error("broker.message_unsendable", lane=self.name, exchange=exchange, why=type(failure).__name__)
            self.settle(ticket, Published.NACKED)
            return []
        self._expect_answer(channel, ticket)
        return frames

    def _expect_answer(self, channel: Channel, ticket: _Ticket) -> None:
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = cast("asyncio.Future[Any]", ticket)
        channel.message_id_delivery_tag[ticket.message_id] = channel.delivery_tag
        ticket.channel = channel
        self._flying.add(ticket)

    def _give_up_flying(self) -> None:
        """The channel is gone: nobody will ever know."""
        for ticket in list(self._flying):
            self.settle(ticket, Published.UNKNOWN)


def _why(closing: asyncio.Future[Any]) -> str:
    reason = closing.exception() if closing.done() and not closing.cancelled() else None
    return f"{type(reason).__name__}: {reason}"

"""The way to one destination, an exchange and a routing key: a channel that carries nothing else.

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
from itertools import count
from typing import Any, Protocol, cast

from aiormq import Channel
from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.exceptions import ChannelAccessRefused
from pamqp import commands

from choros.telemetry.logs import get_logger
from choros.transport.port import Published
from choros.transport.rabbitmq.doubt import PROBE_SECONDS, Doubt
from choros.transport.rabbitmq.frames import UNENCODABLE, publish_frames
from choros.transport.rabbitmq.sending import Batch, Post, Ticket
from choros.transport.rabbitmq.tasks import end
from choros.wire.envelope import Wire, encode

_CHUNK = 64 * 1024
"""Bytes written at once; heartbeats and the other ways come in between."""
_OPEN_SECONDS = 10.0
_REOPEN_SECONDS = (0.05, 0.3)
_RENEW_SECONDS = 90.0
"""A probe without an answer for so long is sent again on another channel; the broker itself gives up after 65 s."""
_REFUSED_SECONDS = 1.0
"""A channel that refuses everything for so long is replaced: one that was opened while a quorum queue had lost its
leader refuses for ever, in RabbitMQ 3.10, though the queue has long had another (seen with a cluster)."""

_log = get_logger(__name__)
# Unique without asking the system for every message: aiormq matches returns by this id.
_ids = map(f"{uuid.uuid4().hex[:20]}{{:012x}}".format, count())


class AmqpTicket(Ticket):
    """One publish. aiormq settles it in the place of a future, hence the names of its methods."""

    __slots__ = ("channel", "message_id", "way")

    def __init__(self, post: Post, batch: Batch[AmqpTicket], position: int) -> None:
        super().__init__(post, batch, position)
        self.way: Way | None = None
        self.channel: Channel | None = None
        """While it is in flight."""
        self.message_id = ""

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


class Owner(Protocol):
    """Whom a way tells what became of its tickets."""

    name: str

    def settle(self, ticket: AmqpTicket, published: Published) -> None:
        """This is the answer."""

    def refuse(self, ticket: AmqpTicket) -> None:
        """It is not sent, or no longer waited for: its destination does not answer."""

    def doubted(self, way: Way, doubted: bool) -> None:
        """The destination has stopped to confirm, or does it again."""

    def denied(self, failure: BaseException) -> None:
        """This user may not write to the destination."""

    def part(self, channel: Channel) -> None:
        """Close a channel that is no longer used; nobody waits for it."""

    async def repair(self, connection: AbstractConnection) -> None:
        """Create again what may be gone."""


class Way:
    """Publishes to one destination, on a channel of its own."""

    def __init__(self, name: str, owner: Owner) -> None:
        self.name = name
        """As people write it: exchange, colon, routing key."""
        self.doubt = Doubt(lambda held: owner.doubted(self, held))
        self.sent_past: set[str] = set()
        """Ids of what went by the detour, since it did not answer."""
        self._owner = owner
        self._waiting: deque[AmqpTicket] = deque()
        self._flying: dict[AmqpTicket, None] = {}  # the oldest first
        self._wake = asyncio.Event()
        self._retired = False
        self._refused_since: float | None = None
        """Since when this channel has answered with nothing but refusals."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self._waiting and not self._flying

    def put(self, ticket: AmqpTicket) -> None:
        """Send this as soon as there is a channel and room."""
        self._waiting.append(ticket)
        self._wake.set()

    def stir(self) -> None:
        """Somebody wanted to send: look whether it is time for another channel."""
        self._wake.set()

    def forget(self, batch: Batch[AmqpTicket]) -> None:
        """Nobody waits for these any more; while there is no connection they would only pile up."""
        self._waiting = deque(ticket for ticket in self._waiting if ticket.batch is not batch)

    def look_for_late(self, patience: float) -> None:
        """Doubt the destination, if what was sent first has been in flight for a good part of this time."""
        oldest, now = next(iter(self._flying), None), asyncio.get_running_loop().time()
        if oldest is not None and self.doubt.is_due(now - oldest.sent_at, patience):
            self._late()

    def retire(self) -> None:
        """Close the channel; the next ticket opens another."""
        self._retired = True
        self._wake.set()

    def hear(self, ticket: AmqpTicket, published: Published) -> None:
        """The broker has answered."""
        if published is not Published.NACKED:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = asyncio.get_running_loop().time()
        self._land(ticket)
        self.doubt.answered(published)
        self._owner.settle(ticket, published)

    def give_up(self) -> None:
        """The channel is gone: nobody will ever know what became of these."""
        for ticket in list(self._flying):
            self._land(ticket)
            self._owner.settle(ticket, Published.UNKNOWN)

    def close(self) -> None:
        """Answer all who still wait: unknown."""
        while self._waiting:
            self._owner.settle(self._waiting.popleft(), Published.UNKNOWN)

    async def serve(self, connection: AbstractConnection) -> None:
        """Publish on this connection until retired; a channel that the broker closes is opened again."""
        self._retired = False
        while not self._retired:
            channel = cast(Channel, await connection.channel(on_return_raises=False, timeout=_OPEN_SECONDS))
            closing = channel.closing
            self._refused_since = None
            writer = asyncio.create_task(self._write(channel))
            try:
                await asyncio.wait({writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                try:
                    await end({writer})
                finally:  # we may be cancelled right here
                    self.give_up()
            if closing.done():
                _log.warning("choros.broker.publish_channel_lost", destination=self.name, why=_why(closing))
                if isinstance(_reason(closing), ChannelAccessRefused):
                    self._owner.denied(cast(ChannelAccessRefused, _reason(closing)))
                await asyncio.sleep(random.uniform(*_REOPEN_SECONDS))
                await self._owner.repair(connection)
            else:
                self._owner.part(channel)

    def _land(self, ticket: AmqpTicket) -> None:
        if ticket.channel is not None:
            ticket.channel.message_id_delivery_tag.pop(ticket.message_id, None)
            ticket.channel = None
        self._flying.pop(ticket, None)
        if not self._flying:
            self.doubt.nothing_flies()
        self._wake.set()

    def _late(self) -> None:
        self.doubt.late()
        waiting, self._waiting = self._waiting, deque()
        for ticket in waiting:
            self._owner.refuse(ticket)

    def _look_at_probe(self, probe: AmqpTicket) -> None:
        if probe in self._flying and self.doubt.held:
            self._owner.refuse(probe)
            self._late()

    async def _write(self, channel: Channel) -> None:
        """Until it is retired, or has been silent or refusing for too long."""
        loop = asyncio.get_running_loop()
        while not self._retired and not self._stale(loop.time()):
            chunk = self._next_chunk(channel)
            if not chunk:
                self._wake.clear()
                await self._wake.wait()
                continue
            drained = loop.create_future()
            await channel.write_queue.put(ChannelFrame(chunk, should_close=False, drain_future=drained))
            await drained

    def _stale(self, now: float) -> bool:
        if self._refused_since is not None and now - self._refused_since > _REFUSED_SECONDS:
            return True
        return self.doubt.refuses and all(now - ticket.sent_at > _RENEW_SECONDS for ticket in self._flying)

    def _next_chunk(self, channel: Channel) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._waiting and len(self._flying) < self.doubt.window and size < _CHUNK:
            frames = self._frames(channel, self._waiting.popleft())
            parts += frames
            size += sum(map(len, frames))
        return b"".join(parts)

    def _frames(self, channel: Channel, ticket: AmqpTicket) -> list[bytes]:
        """The frames of one publish, which from now on is in flight; none if there is nothing to send."""
        if ticket.batch.done.done():
            self._owner.settle(ticket, Published.UNKNOWN)
            return []
        exchange, key, message, _ = ticket.post
        ticket.message_id = next(_ids)
        try:
            wire = message if isinstance(message, Wire) else encode(message)
            frame_max = channel.connection.connection_tune.frame_max
            frames = publish_frames(channel.number, frame_max, exchange, key, wire, ticket.message_id)
        except UNENCODABLE as failure:
            _log.error("choros.broker.message_unsendable", to=self.name, why=type(failure).__name__)
            self._owner.settle(ticket, Published.NACKED)
            return []
        self._expect_answer(channel, ticket)
        return frames

    def _expect_answer(self, channel: Channel, ticket: AmqpTicket) -> None:
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = cast("asyncio.Future[Any]", ticket)
        channel.message_id_delivery_tag[ticket.message_id] = channel.delivery_tag
        loop = asyncio.get_running_loop()
        ticket.way, ticket.channel, ticket.sent_at = self, channel, loop.time()
        self._flying[ticket] = None
        if self.doubt.held:
            loop.call_later(PROBE_SECONDS, self._look_at_probe, ticket)


def _reason(closing: asyncio.Future[Any]) -> BaseException | None:
    return closing.exception() if closing.done() and not closing.cancelled() else None


def _why(closing: asyncio.Future[Any]) -> str:
    reason = _reason(closing)
    return f"{type(reason).__name__}: {reason}"

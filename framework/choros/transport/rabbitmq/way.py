"""The way to one destination, an exchange and a routing key: a channel that carries nothing else.

All that is waiting is written in one go and all confirms are in flight together, up to a window. aiormq's own
`basic_publish` costs a task, a lock and several futures for each message, in all four times the processor
time (measured). Its bookkeeping of confirms and returns is used as it is: `delivery_tag`, `confirmations`,
`message_id_delivery_tag` and `write_queue` of `aiormq.Channel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Protocol, cast

from aiormq import Channel
from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.exceptions import ChannelAccessRefused
from pamqp import commands

from choros.sources import fresh_id, uniform
from choros.telemetry.logs import get_logger
from choros.transport.port import Published
from choros.transport.rabbitmq.frames import UNENCODABLE, publish_frames
from choros.transport.rabbitmq.tasks import end
from choros.transport.sending import Destination, Sending, Ticket
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


class AmqpTicket(Ticket):
    """One publish. aiormq settles it in the place of a future, hence the names of its methods."""

    __slots__ = ("channel", "message_id", "way")

    channel: Channel
    """That it was written to, and `way` by whom; there from then on."""
    message_id: str
    way: Way

    def done(self) -> bool:
        """Whether no answer is awaited."""
        return self not in self.way.there.flying

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
        self.channel.message_id_delivery_tag.pop(self.message_id, None)
        self.way.hear(self, published)


class Owner(Protocol):
    """Whom a way serves."""

    name: str
    sending: Sending[AmqpTicket]
    denied: Callable[[BaseException], None]
    """Told that this user may not write to the destination."""
    repair: Callable[[AbstractConnection], Awaitable[object]]
    """Creates again what may be gone."""

    def fly(self, there: Destination[AmqpTicket]) -> AmqpTicket | None:
        """What is to be written now."""

    def part(self, channel: Channel) -> None:
        """Close a channel that is no longer used; nobody waits for it."""


class Way:
    """Publishes to one destination, on a channel of its own."""

    def __init__(self, there: Destination[AmqpTicket], owner: Owner) -> None:
        self.there = there
        self._owner = owner
        # Unique without asking the system for every message: aiormq matches returns by this id.
        self._ids = map(f"{fresh_id().replace('-', '')[-20:]}{{:012x}}".format, count())
        self._wake = asyncio.Event()
        self._retired = False
        self._refused_since: float | None = None
        """Since when this channel has answered with nothing but refusals."""

    def wake(self) -> None:
        """There is something to send, or somebody wanted to: look whether it is time for another channel."""
        self._wake.set()

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
        self._owner.sending.answered(ticket, published)

    async def serve(self, connection: AbstractConnection) -> None:
        """Publish on this connection until retired; a channel that the broker closes is opened again."""
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
                    self._owner.sending.lost(self.there)
            if closing.done():
                _log.warning("choros.broker.publish_channel_lost", destination=self.there.name, why=_why(closing))
                if isinstance(_reason(closing), ChannelAccessRefused):
                    self._owner.denied(cast(ChannelAccessRefused, _reason(closing)))
                await asyncio.sleep(uniform(*_REOPEN_SECONDS))
                await self._owner.repair(connection)
            else:
                self._owner.part(channel)

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
        there = self.there
        return there.doubt.refuses and all(now - since > _RENEW_SECONDS for since in there.flying.values())

    def _next_chunk(self, channel: Channel) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size < _CHUNK and (ticket := self._owner.fly(self.there)) is not None:
            frames = self._frames(channel, ticket)
            parts += frames
            size += sum(map(len, frames))
        return b"".join(parts)

    def _frames(self, channel: Channel, ticket: AmqpTicket) -> list[bytes]:
        """The frames of one publish; none if it cannot be written."""
        exchange, key, message, _ = ticket.post
        ticket.way, ticket.channel, ticket.message_id = self, channel, next(self._ids)
        try:
            wire = message if isinstance(message, Wire) else encode(message)
            frame_max = channel.connection.connection_tune.frame_max
            frames = publish_frames(channel.number, frame_max, exchange, key, wire, ticket.message_id)
        except UNENCODABLE as failure:
            _log.error("choros.broker.message_unsendable", to=self.there.name, why=type(failure).__name__)
            self._owner.sending.answered(ticket, Published.NACKED)
            return []
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = cast("asyncio.Future[Any]", ticket)
        channel.message_id_delivery_tag[ticket.message_id] = channel.delivery_tag
        return frames


def _reason(closing: asyncio.Future[Any]) -> BaseException | None:
    return closing.exception() if closing.done() and not closing.cancelled() else None


def _why(closing: asyncio.Future[Any]) -> str:
    reason = _reason(closing)
    return f"{type(reason).__name__}: {reason}"

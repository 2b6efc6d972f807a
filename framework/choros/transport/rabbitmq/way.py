"""The way to one destination, an exchange and a routing key: a channel that carries nothing else.

All that is waiting is written in one go and all confirms are in flight together, up to a window. aiormq's own
`basic_publish` costs a task, a lock and several futures for each message, in all four times the processor
time (measured). Of `aiormq.Channel` its `write_queue` is used as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count, takewhile
from typing import Any, Protocol, cast

from aiormq import Channel
from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.exceptions import ChannelAccessRefused

from choros.sources import fresh_id, uniform
from choros.telemetry.logs import get_logger
from choros.transport.port import Published
from choros.transport.rabbitmq.frames import UNENCODABLE, publish_frames
from choros.transport.rabbitmq.hearing import BrokerAnswer, BrokerReturn, Spoken, hearing_of
from choros.transport.rabbitmq.tasks import end
from choros.transport.sending import Destination, Sending, Ticket

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
    """One publish."""

    __slots__ = ("message_id",)

    message_id: str
    """As the message says it; there once it is written."""


class Written:
    """What was written to one channel and is not answered, by the broker's number, the oldest first."""

    def __init__(self, answered: Callable[[AmqpTicket, Published], None]) -> None:
        self._answered = answered
        self._tickets: dict[int, AmqpTicket] = {}
        self._count = 0

    def add(self, ticket: AmqpTicket) -> None:
        """The next one."""
        self._count += 1
        self._tickets[self._count] = ticket

    def hear(self, said: Spoken) -> None:
        """The broker answers, or sends something back; the answer to that comes next, and says nothing."""
        if isinstance(said, BrokerAnswer):
            for ticket in self._answers(said):
                self._answered(ticket, said.published)
        elif isinstance(said, BrokerReturn):
            for tag, ticket in self._tickets.items():
                if ticket.message_id == said.message_id:
                    del self._tickets[tag]
                    self._answered(ticket, Published.RETURNED)
                    break

    def _answers(self, said: BrokerAnswer) -> list[AmqpTicket]:
        tags = list(takewhile(lambda tag: tag <= said.tag, self._tickets)) if said.multiple else [said.tag]
        return [self._tickets.pop(tag) for tag in tags if tag in self._tickets]


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

    def part(self, channel: Channel, deaf: Callable[[], None]) -> None:
        """Close a channel that is no longer used; nobody waits for it, and when it is closed, nobody listens."""


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

    def answered(self, ticket: AmqpTicket, published: Published) -> None:
        """The broker has answered."""
        if published is not Published.NACKED:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = asyncio.get_running_loop().time()
        self._owner.sending.answered(ticket, published)

    async def serve(self, connection: AbstractConnection) -> None:
        """Publish on this connection until retired; a channel that the broker closes is opened again."""
        while not self._retired:
            async with asyncio.timeout(_OPEN_SECONDS):  # the client's own bound leaves out that confirms are asked for
                channel = cast(Channel, await connection.channel(on_return_raises=False, timeout=_OPEN_SECONDS))
            closing = channel.closing
            self._refused_since = None
            written, hearing = Written(self.answered), hearing_of(connection)
            hearing.listen(channel.number, written.hear)
            deaf = partial(hearing.leave, channel.number, written.hear)
            writer = asyncio.create_task(self._write(channel, written))
            try:
                await asyncio.wait({writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                try:
                    await end({writer})
                finally:  # we may be cancelled right here
                    self._owner.sending.lost(self.there)
            if closing.done():
                deaf()
                _log.warning("choros.broker.publish_channel_lost", destination=self.there.name, why=_why(closing))
                if isinstance(_reason(closing), ChannelAccessRefused):
                    self._owner.denied(cast(ChannelAccessRefused, _reason(closing)))
                await asyncio.sleep(uniform(*_REOPEN_SECONDS))
                await self._owner.repair(connection)
            else:
                self._owner.part(channel, deaf)

    async def _write(self, channel: Channel, written: Written) -> None:
        """Until it is retired, or has been silent or refusing for too long."""
        loop = asyncio.get_running_loop()
        while not self._retired and not self._stale(loop.time()):
            chunk = self._next_chunk(channel, written)
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

    def _next_chunk(self, channel: Channel, written: Written) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size < _CHUNK and (ticket := self._owner.fly(self.there)) is not None:
            frames = self._frames(channel, ticket)
            if frames:
                written.add(ticket)
            parts += frames
            size += sum(map(len, frames))
        return b"".join(parts)

    def _frames(self, channel: Channel, ticket: AmqpTicket) -> list[bytes]:
        """The frames of one publish; none if it cannot be written."""
        exchange, key, message, _ = ticket.post
        ticket.message_id = next(self._ids)
        try:
            frame_max = channel.connection.connection_tune.frame_max
            return publish_frames(channel.number, frame_max, exchange, key, message, ticket.message_id)
        except UNENCODABLE as failure:
            _log.error("choros.broker.message_unsendable", to=self.there.name, why=type(failure).__name__)
            self._owner.sending.answered(ticket, Published.NACKED)
            return []


def _reason(closing: asyncio.Future[Any]) -> BaseException | None:
    return closing.exception() if closing.done() and not closing.cancelled() else None


def _why(closing: asyncio.Future[Any]) -> str:
    reason = _reason(closing)
    return f"{type(reason).__name__}: {reason}"

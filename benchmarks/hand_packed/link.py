"""A connection of aiormq's on which the frames of our own channels are taken out before it sees them.

They are parsed straight out of the chunk that the socket gave; what is sent goes out in one write for each turn of the
loop, with one acknowledgement for all that may be acknowledged. aiormq does the handshake, opens and sets up the
channels, keeps the heartbeat, and hears of everything else.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any

import aiormq
import pamqp.frame
from aiormq.abc import AbstractConnection
from aiormq.connection import TransportFactory
from pamqp import commands
from pamqp.heartbeat import Heartbeat
from yarl import URL

CONSUMER = "c"
"""The tag of every consumer: of one byte, so that what follows it stands in one place."""
_HEAD = struct.Struct(">BHI")
_TAG = struct.Struct(">QB")
_SIZES = struct.Struct(">HHQH")
_ACK_UP_TO = struct.Struct(">BHIHHQBB")
_METHOD, _BASIC, _ACK, _MULTIPLE, _END, _AROUND = 1, 60, 80, 1, 0xCE, 8
_DELIVER, _CONFIRM = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50"
_REFUSALS = {b"\x00\x3c\x00\x78": "refused", b"\x00\x3c\x00\x32": "sent back"}
_HEARTBEAT = Heartbeat().marshal()
_LIFE_SECONDS = 1.0
_CHUNK = 256 * 1024

Deliver = Callable[[bytes, int], None]
"""Told the saga of a message, and its delivery tag."""


class Channel:
    """One that is ours: what it consumes goes to `deliver`, what it publishes is counted until it is confirmed."""

    def __init__(self, number: int, deliver: Deliver, confirmed: Callable[[int], None] | None = None) -> None:
        self.number, self.deliver = number, deliver
        self.done = 0
        """The delivery up to which all are handled."""
        self.published = self.confirmed = 0
        self._acknowledged = 0
        self._apart: set[int] = set()
        self._changed = asyncio.Event()
        self._tell = confirmed

    def confirm(self, tag: int, multiple: int) -> None:
        """The broker has taken this publish, or all up to it; they need not come in order."""
        if multiple:
            self.confirmed = max(self.confirmed, tag)
        else:
            self._apart.add(tag)
        while self.confirmed + 1 in self._apart:
            self.confirmed += 1
            self._apart.discard(self.confirmed)
        self._changed.set()
        if self._tell is not None:
            self._tell(self.confirmed)

    async def settled(self) -> None:
        """Return when all that was published is confirmed."""
        while self.confirmed < self.published:
            self._changed.clear()
            await self._changed.wait()

    def acknowledgement(self) -> bytes:
        """One for all deliveries that are handled and not acknowledged yet."""
        if self.done == self._acknowledged:
            return b""
        self._acknowledged = self.done
        return _ACK_UP_TO.pack(_METHOD, self.number, 13, _BASIC, _ACK, self.done, _MULTIPLE, _END)


class Link(asyncio.StreamReaderProtocol):
    """Bytes from and to the broker."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(reader, loop=self._loop)
        self.channels: dict[int, Channel] = {}
        self.writer: asyncio.StreamWriter | None = None
        self._rest = b""
        self._out: list[bytes] = []
        self._soon = False
        self._last_life = 0.0

    def take(self, channels: Mapping[str, Channel]) -> None:
        """From now on these channels are ours, and consume the queue that each goes by."""
        self.channels = {channel.number: channel for channel in channels.values()}
        for queue, channel in channels.items():
            consume = commands.Basic.Consume(queue=queue, consumer_tag=CONSUMER, nowait=True)
            self.send(pamqp.frame.marshal(consume, channel.number))

    async def let_go(self) -> None:
        """Send what is left; then they are aiormq's again, which closes them."""
        self._write()
        if self.writer is not None:
            await self.writer.drain()
        self.channels = {}

    def send(self, frames: bytes) -> None:
        """Before the turn of the loop is over."""
        self._out.append(frames)
        self.stir()

    def stir(self) -> None:
        """There is something to send or to acknowledge."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._soon = False
        out, self._out = self._out, []
        out += [channel.acknowledgement() for channel in self.channels.values()]
        if self.writer is not None and (chunk := b"".join(out)):
            self.writer.write(chunk)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if not self.channels:  # until then all of it is aiormq's, the greeting of another version too
            return super().data_received(data)
        data, at, others = self._rest + data, 0, []
        end = len(data)
        while end - at >= _AROUND:
            _, number, size = _HEAD.unpack_from(data, at)
            after = at + size + _AROUND
            channel = self.channels.get(number)
            if after > end:
                break
            if channel is None:
                others.append(data[at:after])
            elif not (after := self._take(channel, data, at, after, end)):
                break
            at = after
        self._rest = data[at:]
        self._pass_on(b"".join(others))
        return None

    def _take(self, channel: Channel, data: bytes, at: int, after: int, end: int) -> int:
        """A frame of ours, and where the next one begins; 0 if the message is not there whole."""
        method = data[at + 7 : at + 11]
        if method == _DELIVER:
            return self._delivered(channel, data, at + 12 + len(CONSUMER), after, end)
        if method == _CONFIRM:
            channel.confirm(*_TAG.unpack_from(data, at + 11))
            return after
        what = _REFUSALS.get(method, "not answered as it should be")
        raise AssertionError(f"On channel {channel.number} the broker has {what}: {data[at:after]!r}.")

    def _delivered(self, channel: Channel, data: bytes, at: int, header: int, end: int) -> int:
        if end - header < _AROUND:
            return 0
        body: int = header + _HEAD.unpack_from(data, header)[2] + _AROUND
        if end < body:
            return 0
        size: int = _SIZES.unpack_from(data, header + 7)[2]
        after = body + size + _AROUND  # in one frame: these bodies are small
        if end < after:
            return 0
        name = header + 7 + _SIZES.size
        name += 1 + data[name]  # content type
        name += 4 + int.from_bytes(data[name : name + 4]) + 1  # headers, delivery mode
        channel.deliver(data[name + 1 : name + 1 + data[name]], _TAG.unpack_from(data, at)[0])
        return after

    def _pass_on(self, others: bytes) -> None:
        now = self._loop.time()
        if not others and now - self._last_life > _LIFE_SECONDS:
            others = _HEARTBEAT  # aiormq's clock goes on: the broker lives
        if others:
            self._last_life = now
            super().data_received(others)


class Opening(TransportFactory):
    """Gives aiormq a stream, and keeps hold of what is behind it."""

    link: Link

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by aiormq."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_CHUNK, loop=loop)
        transport, self.link = await loop.create_connection(lambda: Link(reader), url.host or "", url.port or 0)
        self.link.writer = asyncio.StreamWriter(transport, self.link, reader, loop)
        return reader, self.link.writer


async def connected(url: str) -> tuple[AbstractConnection, Link]:
    """A connection, and our way past it."""
    opening = Opening()
    return await aiormq.connect(url, transport_factory=opening), opening.link


async def opened_channel(connection: AbstractConnection, prefetch: int) -> int:
    """The number of a channel that aiormq has made ready: its publishes are confirmed."""
    channel = await connection.channel(publisher_confirms=True)
    await channel.basic_qos(prefetch_count=prefetch)
    return channel.number

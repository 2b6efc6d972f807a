"""What a stranger can put on a broker: content headers and routing keys byte by byte, as no client would write them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Collection
from typing import cast

import aiormq
import pamqp.frame
from aiormq import Channel
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody

CONTENT_TYPE, HEADERS, PERSISTENT, CORRELATION, MESSAGE_ID, TIMESTAMP, TYPE = (
    1 << bit for bit in (15, 13, 12, 10, 7, 6, 5)
)


def short(text: bytes) -> bytes:
    """A text with one byte of length."""
    return bytes([len(text)]) + text


def long(text: bytes) -> bytes:
    """A text with four bytes of length."""
    return struct.pack(">I", len(text)) + text


def table(*entries: tuple[bytes, bytes]) -> bytes:
    """Names, and values that begin with the letter of their type."""
    return long(b"".join(short(name) + value for name, value in entries))


def deep(levels: int, letter: bytes = b"F") -> bytes:
    """Tables, or arrays, within each other."""
    inner = table() if letter == b"F" else long(b"")
    for _ in range(levels):
        inner = table((b"a", b"F" + inner)) if letter == b"F" else long(b"A" + inner)
    return inner


def flagged(flags: int, properties: bytes) -> bytes:
    """What follows the sizes in a content header."""
    return struct.pack(">H", flags) + properties


def seconds(count: int) -> bytes:
    """A moment."""
    return struct.pack(">Q", count % 2**64)


UNDECODABLE = {
    "a correlation id that is no text": flagged(CORRELATION, short(b"\xff\xfe")),
    "a content type that is no text": flagged(CONTENT_TYPE | TYPE, short(b"\xff") + short(b"t")),
    "a time in microseconds": flagged(TIMESTAMP, seconds(1_790_000_000_000_000)),
    "a time before 1970": flagged(TIMESTAMP, seconds(-1)),
    "a header's time in nanoseconds": flagged(HEADERS, table((b"a", b"T" + seconds(2**62)))),
    "a header's name that is no text": flagged(HEADERS, table((b"\xff\xfe", b"S" + long(b"x")))),
    "3,000 tables within each other": flagged(HEADERS, deep(3000)),
    "3,000 arrays within each other": flagged(HEADERS, table((b"a", b"A" + deep(3000, b"A")))),
}
"""What RabbitMQ takes and hands on, and clients stumble over."""
ODD = {
    "no properties": flagged(0, b""),
    "a header that is no text": flagged(HEADERS, table((b"a", b"S" + long(b"\xff\xfe")))),
    "a decimal of 255 places": flagged(HEADERS, table((b"a", b"D" + struct.pack(">Bi", 255, 1)))),
    "90 tables within each other": flagged(HEADERS, deep(90)),
}
"""Strange, but it can be read."""


_MOST_IN_A_FRAME = 131_072 - 8


def content(channel: int, properties: bytes, body: bytes = b"{}") -> bytes:
    """Header and body of a message, as frames; a large body as several."""
    payload = struct.pack(">HHQ", 60, 0, len(body)) + properties
    header = struct.pack(">BHI", 2, channel, len(payload)) + payload + b"\xce"
    pieces = (body[at : at + _MOST_IN_A_FRAME] for at in range(0, len(body), _MOST_IN_A_FRAME))
    return header + b"".join(pamqp.frame.marshal(ContentBody(piece), channel) for piece in pieces)


def method(channel: int, klass: int, number: int, arguments: bytes) -> bytes:
    """A method frame."""
    payload = struct.pack(">HH", klass, number) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def publish(channel: int, exchange: str, key: bytes, properties: bytes, body: bytes = b"{}") -> bytes:
    """`basic.publish`, mandatory, with its content."""
    arguments = b"\0\0" + short(exchange.encode()) + short(key) + b"\1"
    return method(channel, 60, 40, arguments) + content(channel, properties, body)


def deliver(channel: int, exchange: bytes, key: bytes, properties: bytes, body: bytes = b"{}") -> bytes:
    """`basic.deliver` with its content."""
    arguments = short(b"ctag1.x") + struct.pack(">QB", 200, 0) + short(exchange) + short(key)
    return method(channel, 60, 60, arguments) + content(channel, properties, body)


async def throw(url: str, exchange: str, key: bytes, messages: Collection[bytes], body: bytes = b"{}") -> None:
    """Publish them; returns once the broker has put them all into a queue, and raises what it says against that.

    What comes back, since no queue takes it, costs this connection: it is no guarded one."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(timeout=10)
        confirms = [asyncio.get_running_loop().create_future() for _ in messages]
        cast(Channel, channel).confirmations.update(enumerate(confirms, 1))  # aiormq settles them
        frames = b"".join(publish(channel.number, exchange, key, properties, body) for properties in messages)
        await connection.write_queue.put(ChannelFrame(frames, should_close=False))
        everything = asyncio.ensure_future(asyncio.wait(confirms))
        await asyncio.wait({everything, connection.closing}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not everything.cancel() and all(confirm.exception() is None for confirm in confirms):
            return
        raise ConnectionError("not all of them were taken")
    finally:
        await connection.close()

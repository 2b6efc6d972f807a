"""Messages as frames, and back: what stands between an envelope on the wire and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pamqp.frame
from aiormq.abc import DeliveredMessage
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from benchmarks.pattern import Pattern
from benchmarks.stage.stage import PART, Stage
from choros.transport.rabbitmq.frames import ack_frame, publish_frames, received
from choros.transport.rabbitmq.reader import FrameReader
from choros.wire.envelope import Wire, encode

_NO_CHANNEL: Any = None
_CHANNEL, _FRAME_MAX, _EXCHANGE = 1, 128 * 1024, "growth.commands"


def frame_stages(pattern: Pattern) -> list[Stage]:
    """All of them."""
    wires = [encode(one) for one in (*pattern.commands, *pattern.replies, pattern.fact)]
    chunk = b"".join(_delivered(tag, wire) for tag, wire in enumerate(wires))
    count = len(wires)
    return [
        Stage("wire to frames", 7, 8, count, lambda _: [_packed(wire) for wire in wires], of=PART),
        Stage("frames to wire", 7, 12, count, lambda _: _unpacked(chunk, count), of=PART),
        Stage("acknowledgement", 7, 0.1, 100, _acknowledged, of=PART),
    ]


def _packed(wire: Wire) -> Sequence[bytes]:
    return publish_frames(_CHANNEL, _FRAME_MAX, _EXCHANGE, "payment", wire, "0" * 32)


def _acknowledged(_: object) -> None:
    for tag in range(100):
        ack_frame(_CHANNEL, tag)


def _delivered(tag: int, wire: Wire) -> bytes:
    """As the broker sends it on."""
    deliver = commands.Basic.Deliver("ctag1.0123456789abcdef", tag, False, _EXCHANGE, "payment")
    _, *content = _packed(wire)
    return b"".join((pamqp.frame.marshal(deliver, _CHANNEL), *content))


async def _unpacked(chunk: bytes, count: int) -> None:
    """As aiormq does with what our reader gives it."""
    raw = asyncio.StreamReader()
    raw.feed_data(chunk)
    reader = FrameReader(raw)
    for _ in range(count):
        deliver, header, body = [await _frame(reader) for _ in range(3)]
        assert isinstance(deliver, commands.Basic.Deliver)
        assert isinstance(header, ContentHeader)
        assert isinstance(body, ContentBody)
        received(DeliveredMessage(deliver, header, body.value, _NO_CHANNEL))


async def _frame(reader: FrameReader) -> object:
    head = await reader.readexactly(1)
    head += await reader.readexactly(6)
    _, _, size = pamqp.frame.frame_parts(head)
    return pamqp.frame.unmarshal(head + await reader.readexactly((size or 0) + 1))[2]

"""Messages as frames, and back: what stands between an envelope on the wire and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pamqp.frame
from pamqp import commands

from benchmarks.pattern import Pattern
from benchmarks.stage.stage import PART, Stage
from choros.transport.rabbitmq.envelopes import read_quickly
from choros.transport.rabbitmq.frames import ack_frame, publish_frames
from choros.transport.rabbitmq.hearing import BrokerDelivery, Hearing, Spoken
from choros.transport.rabbitmq.reader import FrameReader
from choros.wire.envelope import Envelope

_CHANNEL, _FRAME_MAX, _EXCHANGE = 1, 128 * 1024, "growth.commands"


def frame_stages(pattern: Pattern) -> list[Stage]:
    """All of them."""
    envelopes = [*pattern.commands, *pattern.replies, pattern.fact]
    chunk = b"".join(_delivered(tag, one) for tag, one in enumerate(envelopes))
    count = len(envelopes)
    return [
        Stage("envelope to frames", 7, 5, count, lambda _: [_packed(one) for one in envelopes], of=PART),
        Stage("frames to envelope", 7, 12, count, lambda _: _unpacked(chunk, count), of=PART),
        Stage("acknowledgement", 7, 0.1, 100, _acknowledged, of=PART),
    ]


def _packed(envelope: Envelope) -> Sequence[bytes]:
    return publish_frames(_CHANNEL, _FRAME_MAX, _EXCHANGE, "payment", envelope, "0" * 32)


def _acknowledged(_: object) -> None:
    for tag in range(100):
        ack_frame(_CHANNEL, tag)


def _delivered(tag: int, envelope: Envelope) -> bytes:
    """As the broker sends it on."""
    deliver = commands.Basic.Deliver("ctag1.0123456789abcdef", tag, False, _EXCHANGE, "payment")
    _, *content = _packed(envelope)
    return b"".join((pamqp.frame.marshal(deliver, _CHANNEL), *content))


async def _unpacked(chunk: bytes, count: int) -> None:
    """As our reader does before aiormq sees anything."""
    raw, hearing, read = asyncio.StreamReader(), Hearing(), list[Envelope | None]()
    raw.feed_data(chunk)

    def hear(said: Spoken) -> None:
        assert isinstance(said, BrokerDelivery)
        read.append(read_quickly(said.properties, said.body))

    hearing.listen(_CHANNEL, hear)
    await FrameReader(raw, hearing).readexactly(1)  # aiormq gets no more than a sign of life
    assert len(read) == count
    assert None not in read

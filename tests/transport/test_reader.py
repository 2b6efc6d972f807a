"""What aiormq gets to see of what the broker sends: frames that it can decode, and all that was there before."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import pytest
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, ProtocolSyntaxError
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from choros.transport.rabbitmq.hearing import Hearing
from choros.transport.rabbitmq.properties import SEAL
from choros.transport.rabbitmq.reader import FrameReader

from .strangers import HEADERS, MESSAGE_ID, UNDECODABLE, content, deliver, flagged, long, method, short, table

PLAIN = flagged(MESSAGE_ID, short(b"m-1"))
BROKEN = st.one_of(st.binary(max_size=60), st.sampled_from(list(UNDECODABLE.values())))
WORD = st.binary(max_size=40)


def stream(*parts: bytes) -> FrameReceiver:
    """aiormq, reading these parts of a stream through our reader."""
    raw = asyncio.StreamReader()
    for part in parts:
        raw.feed_data(part)
    raw.feed_eof()
    return FrameReceiver(cast(asyncio.StreamReader, FrameReader(raw, Hearing())))


async def frames(*parts: bytes) -> list[object]:
    receiver, found = stream(*parts), list[object]()
    async for _, _, frame in receiver:
        found.append(frame)
    return found


def sealed(frame: object) -> object:
    assert isinstance(frame, ContentHeader)
    return (frame.properties.headers or {})[SEAL]


@settings(deadline=None)
@given(WORD, WORD, BROKEN, st.binary(max_size=20))
async def test_whatever_a_stranger_published_is_delivered(
    exchange: bytes, key: bytes, properties: bytes, body: bytes
) -> None:
    found = await frames(deliver(3, exchange, key, properties, body), marshal(commands.Basic.CancelOk("c"), 3))
    method, header, *bodies, after = found
    assert isinstance(method, commands.Basic.Deliver) and isinstance(header, ContentHeader)
    assert (method.consumer_tag, method.delivery_tag, method.redelivered) == ("ctag1.x", 200, False)
    assert (header.body_size, b"".join(one.value for one in cast(list[ContentBody], bodies))) == (len(body), body)
    assert sealed(header) == bytearray(properties)
    assert isinstance(after, commands.Basic.CancelOk)


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=20))
async def test_it_does_not_matter_in_which_pieces_they_come(cuts: list[int]) -> None:
    whole = deliver(1, b"e", b"k\xff", PLAIN, b"x" * 90) + marshal(Heartbeat(), 0) + deliver(1, b"e", b"k", PLAIN)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    raw = asyncio.StreamReader()
    receiver = FrameReceiver(cast(asyncio.StreamReader, FrameReader(raw, Hearing())))
    reading = asyncio.create_task(_kinds(receiver, 7))
    for start, end in pairwise(places):
        raw.feed_data(whole[start:end])
        await asyncio.sleep(0)
    once = ["Basic.Deliver", "ContentHeader", "ContentBody"]
    assert await reading == [*once, "Heartbeat", *once]


async def _kinds(receiver: FrameReceiver, count: int) -> list[str]:
    return [(await receiver.get_frame())[2].name for _ in range(count)]


async def test_texts_that_are_none_are_shown_byte_by_byte() -> None:
    (delivered, *_) = await frames(deliver(1, b"e", "n\u00e4\u00efve".encode() + b"\xff", PLAIN))
    assert isinstance(delivered, commands.Basic.Deliver)
    assert (delivered.exchange, delivered.routing_key) == ("e", "n\u00e4\u00efve\\xff")


async def test_a_text_of_bytes_alone_still_has_room() -> None:
    (delivered, *_) = await frames(deliver(1, b"e", b"\xff" * 200 + "\u00e4".encode() * 27, PLAIN))
    assert isinstance(delivered, commands.Basic.Deliver)
    assert (delivered.routing_key or "").startswith("\\xff\\xff")


@pytest.mark.parametrize(
    ("klass", "number", "before", "after"),
    [
        (60, 50, b"\x01\x38" + short(b"NO_ROUTE"), short(b"\xff") + short(b"k")),
        (60, 71, b"\0" * 9, short(b"e") + short(b"\xff") + b"\0\0\0\0"),
        (20, 40, b"\x01\x94", short(b"no queue \xc3") + b"\0\0\0\0"),
        (10, 50, b"\x01\x40", short(b"\xc3") + b"\0\0\0\0"),
        (10, 60, b"", short(b"low on \xff")),
    ],
)
async def test_every_method_with_a_text_of_others_can_be_decoded(
    klass: int, number: int, before: bytes, after: bytes
) -> None:
    (found,) = await frames(method(1, klass, number, before + after))
    assert isinstance(found, Frame)
    assert found.index == klass << 16 | number


async def test_a_returned_message_still_tells_which_it_is() -> None:
    """By its id, behind headers that cannot be decoded; without it aiormq would count it as taken."""
    returned = method(1, 60, 50, b"\x01\x38" + short(b"NO_ROUTE") + short(b"e") + short(b"k"))
    bad = flagged(HEADERS | MESSAGE_ID, table((b"\xff", b"S" + long(b"x"))) + short(b"m-1"))
    _, header, _, *_, delivered = await frames(returned + content(1, bad), deliver(1, b"e", b"k", PLAIN, b""))
    assert isinstance(header, ContentHeader) and isinstance(delivered, ContentHeader)
    assert header.properties.message_id == "m-1"
    assert delivered.properties.message_id is None


async def test_the_brokers_own_frames_pass_as_they_are() -> None:
    own = [
        marshal(commands.Basic.Ack(2**40, multiple=True), 1),
        marshal(commands.Queue.DeclareOk("q", 1, 2), 1),
        marshal(Heartbeat(), 0),
    ]
    raw = asyncio.StreamReader()
    raw.feed_data(b"".join(own))
    raw.feed_eof()
    reader = FrameReader(raw, Hearing())
    for frame in own:
        assert b"".join([await reader.readexactly(part) for part in (1, 6, len(frame) - 7)]) == frame
    assert reader.at_eof()


@pytest.mark.parametrize("answer", [b"AMQP\x00\x00\x09\x01", b"AMQP\x00\x01\x00\x00"])
async def test_a_broker_of_another_version_is_told_apart(answer: bytes) -> None:
    with pytest.raises(ProtocolSyntaxError):
        await stream(answer).get_frame()


@pytest.mark.parametrize(
    "answer", [b"", b"\x01\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n", deliver(1, b"", b"", b"")[:9]]
)
async def test_a_stream_that_ends_too_soon_is_a_lost_connection(answer: bytes) -> None:
    receiver = stream(b"", answer)
    with pytest.raises((AMQPConnectionError, StopAsyncIteration)):
        await receiver.get_frame()

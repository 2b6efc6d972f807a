"""What is heard before aiormq: deliveries, confirms and returns of channels that listen, whole and in order."""

import asyncio
import gc
import weakref
from functools import partial
from typing import Any, cast

import pamqp.frame
import pytest
from aiormq.abc import AbstractConnection
from aiormq.connection import FrameReceiver
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from choros.transport.port import Published
from choros.transport.rabbitmq.frames import received
from choros.transport.rabbitmq.hearing import BrokerAnswer, BrokerDelivery, BrokerReturn, Hearing, Spoken, hearing_of
from choros.transport.rabbitmq.reader import FrameReader
from choros.transport.rabbitmq.way import AmqpTicket, Written
from choros.transport.sending import Post

MINE, ANOTHERS = 3, 4


def frames(channel: int, method: Any, body: bytes | None = None, *, step: int = 4, **properties: Any) -> bytes:
    parts = [method]
    if body is not None:
        parts.append(ContentHeader(properties=commands.Basic.Properties(**properties), body_size=len(body)))
        parts += [ContentBody(body[at : at + step]) for at in range(0, len(body), step)]
    return b"".join(pamqp.frame.marshal(part, channel) for part in parts)


def delivery(channel: int, tag: int, body: bytes = b"") -> bytes:
    deliver = commands.Basic.Deliver("consumer", tag, False, "commands", "payment")
    return frames(channel, deliver, body, message_type="t")


ACK, NACK = frames(MINE, commands.Basic.Ack(7)), frames(MINE, commands.Basic.Nack(9, multiple=True))
RETURN = frames(MINE, commands.Basic.Return(312, "NO_ROUTE", "commands", "x"), b"{}", message_id="m1")
CONSUMING = frames(MINE, commands.Basic.ConsumeOk("consumer"))
SPOKEN: list[tuple[bytes, list[tuple[Any, ...]]]] = [
    (delivery(MINE, 1), [("delivered", 1, "commands", b"", "t")]),
    (delivery(MINE, 2, b"{" + b"x" * 9 + b"}"), [("delivered", 2, "commands", b"{xxxxxxxxx}", "t")]),
    (ACK, [(7, False, Published.CONFIRMED)]),
    (NACK, [(9, True, Published.NACKED)]),
    (RETURN, [("m1",)]),
    (CONSUMING, []),
    (delivery(ANOTHERS, 5, b"other"), []),
]


def told(said: Spoken) -> tuple[Any, ...]:
    if isinstance(said, BrokerDelivery):
        wire = received(said.properties, said.body)
        return "delivered", said.tag, said.exchange, wire.body, wire.type
    return tuple(said)


def fed(chunks: list[bytes]) -> asyncio.StreamReader:
    raw = asyncio.StreamReader()
    for chunk in chunks:
        raw.feed_data(chunk)
    raw.feed_eof()
    return raw


async def left(reader: FrameReader) -> list[Any]:
    """What aiormq sees."""
    receiver, seen = FrameReceiver(cast(asyncio.StreamReader, reader)), []
    try:
        async for _, channel, frame in receiver:
            if not isinstance(frame, Heartbeat):
                seen.append((channel, type(frame).__name__))
    except Exception:  # the end of the stream
        return seen
    return seen


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(SPOKEN), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_whatever_is_said_in_whatever_pieces_is_heard_once_and_in_order(
    spoken: list[tuple[bytes, list[tuple[Any, ...]]]], sizes: list[int]
) -> None:
    stream = b"".join(one for one, _ in spoken)
    chunks, at = list[bytes](), 0
    while at < len(stream):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(stream[at : at + size])
        at += size
    heard: list[tuple[Any, ...]] = []
    hearing = Hearing()
    hearing.listen(MINE, lambda said: heard.append(told(said)))

    async def read() -> list[Any]:
        raw = asyncio.StreamReader()
        reading = asyncio.create_task(left(FrameReader(raw, hearing)))
        for chunk in chunks:
            raw.feed_data(chunk)
            await asyncio.sleep(0)
        raw.feed_eof()
        return await reading

    seen = asyncio.run(read())
    assert heard == [one for _, expected in spoken for one in expected]
    passed = [one for one, expected in spoken if not expected]
    assert seen.count((MINE, "ConsumeOk")) == passed.count(CONSUMING)
    assert seen.count((ANOTHERS, "Deliver")) == len(passed) - passed.count(CONSUMING)
    assert {channel for channel, name in seen if name != "ConsumeOk"} <= {ANOTHERS}


async def test_who_has_left_hears_nothing_and_another_of_its_number_does() -> None:
    first, second = list[Spoken](), list[Spoken]()
    hearing = Hearing()
    hearing.listen(MINE, first.append)
    hearing.listen(MINE, second.append)
    hearing.leave(MINE, first.append)  # its channel was closed before, and that is said late
    assert await left(FrameReader(fed([ACK]), hearing)) == []
    assert (len(first), len(second)) == (0, 1)
    hearing.leave(MINE, second.append)
    assert await left(FrameReader(fed([ACK]), hearing)) == [(MINE, "Ack")]


@pytest.mark.parametrize("cut", range(1, 13))
async def test_what_cannot_be_read_is_left_to_aiormq(cut: int) -> None:
    """Which ends the connection, as it should."""
    heard = list[Spoken]()
    hearing = Hearing()
    hearing.listen(MINE, heard.append)
    payload = ACK[7:-1][: 13 - cut]
    broken = pamqp.frame.marshal(commands.Basic.Ack(1), MINE)[:3] + len(payload).to_bytes(4, "big") + payload + b"\xce"
    await left(FrameReader(fed([broken]), hearing))
    await left(FrameReader(fed([ACK[:-1] + b"\x00"]), hearing))
    assert heard == []


async def test_a_connection_on_which_all_is_heard_here_shows_aiormq_that_it_lives() -> None:
    hearing, raw = Hearing(), asyncio.StreamReader()
    hearing.listen(MINE, lambda said: None)
    receiver = FrameReceiver(cast(asyncio.StreamReader, FrameReader(raw, hearing)))
    raw.feed_data(ACK)
    assert isinstance((await receiver.get_frame())[2], Heartbeat)
    raw.feed_data(ACK)
    reading = asyncio.create_task(receiver.get_frame())
    await asyncio.sleep(0.5)
    assert not reading.done()  # once in a while is enough
    await asyncio.sleep(1.0)
    raw.feed_data(ACK)
    assert isinstance((await reading)[2], Heartbeat)


class Dialled:
    """A connection."""


def test_a_connection_that_is_over_is_not_kept_by_who_listened() -> None:
    connection = Dialled()
    hearing_of(cast(AbstractConnection, connection)).listen(MINE, partial(setattr, connection, "said"))
    left_over = weakref.ref(connection)
    del connection
    gc.collect()
    assert left_over() is None


# --- what was published ---


class Flight:
    """Some publishes on one channel, and what became of them."""

    def __init__(self, count: int) -> None:
        self.answers: list[tuple[str, Published]] = []
        self.written = Written(lambda ticket, published: self.answers.append((ticket.message_id, published)))
        for number in range(1, count + 1):
            ticket = AmqpTicket(Post("commands", "payment", cast(Any, None)), cast(Any, None), number)
            ticket.message_id = f"m{number}"
            self.written.add(ticket)


def test_an_answer_is_to_one_or_to_all_up_to_it() -> None:
    flight = Flight(5)
    flight.written.hear(BrokerAnswer(2, False, Published.CONFIRMED))
    flight.written.hear(BrokerAnswer(4, True, Published.NACKED))
    flight.written.hear(BrokerAnswer(4, True, Published.CONFIRMED))  # again
    flight.written.hear(BrokerAnswer(9, False, Published.CONFIRMED))  # of none
    assert flight.answers == [("m2", Published.CONFIRMED), *((f"m{n}", Published.NACKED) for n in (1, 3, 4))]


@pytest.mark.parametrize("multiple", [False, True])
def test_what_came_back_was_not_taken_though_the_broker_confirms_it(multiple: bool) -> None:
    flight = Flight(2)
    flight.written.hear(BrokerReturn("m1"))
    flight.written.hear(BrokerReturn("unknown"))
    flight.written.hear(BrokerAnswer(1, multiple, Published.CONFIRMED))
    flight.written.hear(BrokerAnswer(2, multiple, Published.CONFIRMED))
    assert flight.answers == [("m1", Published.RETURNED), ("m2", Published.CONFIRMED)]

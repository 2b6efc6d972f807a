"""The floors do what they are compared for: all is kept, nothing is left, and no cutting up of bytes confuses them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aio_pika
import pamqp.frame
import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from redis.asyncio import Redis

from benchmarks.contestants import HAND_PACKED, STOCK_REDIS, Arena, arena
from benchmarks.floor import Floor
from benchmarks.hand_packed.floor import HandPacked
from benchmarks.hand_packed.link import CONSUMER, Channel, Link
from benchmarks.hand_packed.stamps import entry_of, frames_of
from benchmarks.measuring import Arrivals, Part
from benchmarks.samples import take_samples
from choros.transport.topology import Names
from tests.patience import PATIENCE

Keeping = Floor | HandPacked
SAGA, OTHER = "order-abcdef-0000-000000", "order-abcdef-0001-000001"


@asynccontextmanager
async def entered(name: str, amqp_url: str, redis_url: str, folder: Path) -> AsyncIterator[tuple[Arena, Keeping]]:
    async with arena(amqp_url, redis_url, folder) as here:
        (found,) = [one for one in await here.entrants() if one.name == name]
        assert isinstance(found.contestant, Floor | HandPacked)
        yield here, found.contestant


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize(("name", "letter"), [(STOCK_REDIS, "r"), (HAND_PACKED, "h")])
async def test_a_floor_keeps_every_step_and_leaves_nothing_in_a_queue(
    name: str, letter: str, amqp_url: str, redis_url: str, tmp_path: Path
) -> None:
    arrivals = Arrivals()
    async with entered(name, amqp_url, redis_url, tmp_path) as (here, floor):
        sagas, namespace = [here.saga(1, number) for number in range(20)], f"bench-{here.run}-{letter}"
        async with floor.opened(Part.WHOLE, arrivals.heard) as shop:
            await asyncio.gather(*map(shop.carry_out, sagas))
            await arrivals.reach(len(sagas))
        for saga in sagas:
            assert await kept(redis_url, namespace, saga) == expected(floor, saga)
        async with asyncio.timeout(PATIENCE):
            while await left(amqp_url, namespace):
                await asyncio.sleep(0.1)


async def kept(redis_url: str, namespace: str, saga: str) -> dict[str, object]:
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        whats = ("state", "payment", "inventory", "shipping", "fact")
        return {what: await redis.get(f"{namespace}:{what}:{saga}") for what in whats}


def expected(floor: Keeping, saga: str) -> dict[str, object]:
    samples = floor.samples
    texts = {"state": samples.states[-1], **{to: reply.body.decode() for to, _, reply in samples.steps}, "fact": ""}
    return {what: text.replace(floor.saga, saga) for what, text in texts.items()}


async def left(amqp_url: str, namespace: str) -> int:
    names = Names(namespace)
    queues = [names.service_queue(to) for to in ("payment", "inventory", "shipping")]
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        found = [
            await channel.get_queue(queue, ensure=True)
            for queue in (*queues, names.reply_queue("order"), names.subscriber_queue("notifications"))
        ]
        return sum(queue.declaration_result.message_count or 0 for queue in found)


# --- bytes ------------------------------------------------------------------------------------------------------------


async def test_a_stamp_is_the_sample_with_another_saga_in_it() -> None:
    samples = await take_samples("stamps", SAGA)
    _, command, _ = samples.steps[0]
    stamped = frames_of(command, SAGA, 3, "stamps.commands", "payment")(OTHER.encode())

    _, channel, publish = pamqp.frame.unmarshal(stamped)
    assert isinstance(publish, commands.Basic.Publish)
    assert (channel, publish.exchange, publish.routing_key) == (3, "stamps.commands", "payment")
    assert publish.mandatory
    assert SAGA.encode() not in stamped
    assert command.body.replace(SAGA.encode(), OTHER.encode()) in stamped


def test_an_entry_is_two_arguments_of_a_redis_command() -> None:
    entry = entry_of("n:state", f'{{"id":"{SAGA}"}}', SAGA)(OTHER.encode())
    key, text = f"n:state:{OTHER}", f'{{"id":"{OTHER}"}}'
    assert entry.decode() == f"${len(key)}\r\n{key}\r\n${len(text)}\r\n{text}\r\n"


async def test_messages_are_found_however_the_chunks_are_cut() -> None:
    wire = b"".join(delivered(number, f"saga-{number}") for number in range(1, 30)) + confirmed(7)
    rng = random.Random(5)
    for _ in range(20):
        found: list[tuple[bytes, int]] = []
        channel = Channel(1, partial(note, found))
        link = Link(asyncio.StreamReader())
        link.channels = {1: channel}
        at = 0
        while at < len(wire):
            size = rng.choice((1, 7, 8, 60, 500))
            link.data_received(wire[at : at + size])
            at += size
        assert found == [(f"saga-{number}".encode(), number) for number in range(1, 30)]
        assert channel.confirmed == 7


async def test_what_is_not_ours_goes_on_to_the_client_whole() -> None:
    reader = asyncio.StreamReader()
    link = Link(reader)
    link.channels = {1: Channel(1, lambda saga, tag: None)}
    theirs = pamqp.frame.marshal(commands.Channel.CloseOk(), 2)

    link.data_received(delivered(1, "saga") + theirs[:5])
    link.data_received(theirs[5:])

    reader.feed_eof()
    assert theirs in await reader.read()


async def test_what_the_broker_refuses_is_an_error() -> None:
    link = Link(asyncio.StreamReader())
    link.channels = {1: Channel(1, lambda saga, tag: None)}
    with pytest.raises(AssertionError, match="refused"):
        link.data_received(pamqp.frame.marshal(commands.Basic.Nack(1), 1))


async def test_confirms_may_come_out_of_order() -> None:
    told: list[int] = []
    channel = Channel(1, lambda saga, tag: None, told.append)
    for tag in (2, 3, 1):
        channel.confirm(tag, 0)
    channel.confirm(9, 1)
    assert told == [0, 0, 3, 9]


def note(found: list[tuple[bytes, int]], saga: bytes, tag: int) -> None:
    found.append((saga, tag))


def delivered(tag: int, saga: str) -> bytes:
    properties = commands.Basic.Properties(
        content_type="application/json", headers={"n": "x"}, delivery_mode=2, correlation_id=saga
    )
    deliver = commands.Basic.Deliver(CONSUMER, tag, False, "an.exchange", "a.key")
    parts = (deliver, ContentHeader(properties=properties, body_size=5), ContentBody(b"hello"))
    return b"".join(pamqp.frame.marshal(part, 1) for part in parts)


def confirmed(tag: int) -> bytes:
    return pamqp.frame.marshal(commands.Basic.Ack(tag, True), 1)

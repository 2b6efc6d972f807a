"""Messages that a stranger wrote, on a real broker: read from a queue, from the log, sent again, and too large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest

from choros.desk.dead_letters import StaysParked, dead_letter, way_back
from choros.testing.conformance.stage import command, fact, receive, receive_and_ack
from choros.transport.copies import BODY_SHA256, BODY_SIZE, LARGEST_BODY, REASON
from choros.transport.fact_log import OFFSET, FactLog
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import DELIVERY_LIMIT, Names, Subscription, Topology, topology
from choros.wire.envelope import MAX_BODY, UNREADABLE

from .brokers import delete
from .proxy import proxied
from .strangers import HEADERS, UNDECODABLE, flagged, long, table, throw

pytestmark = pytest.mark.servers
TOO_LARGE = b"x" * (LARGEST_BODY + 1)


@pytest.fixture
async def declared(amqp_url: str, namespace: str) -> AsyncIterator[Topology]:
    """Removed afterwards."""
    bounded = Subscription("bounded", at_most=100)
    whole = topology(
        namespace, services=["payment"], applications=["app"], subscribers=["one", bounded], fact_log=FactLog()
    )
    yield whole
    await delete(amqp_url, whole)


async def opened(url: str, declared: Topology) -> RabbitMQTransport:
    transport = RabbitMQTransport(url, declared.namespace, "strangers")
    await transport.connect()
    await transport.declare(declared)
    return transport


async def test_the_log_is_read_past_them_and_on_from_them(amqp_url: str, declared: Topology) -> None:
    """A reader that loses its connection goes on with the first that was not settled, whatever that is."""
    names = Names(declared.namespace)
    async with proxied(amqp_url) as (proxy, url):
        transport = await opened(url, declared)
        await transport.publish([fact(1)])
        await throw(amqp_url, names.facts, b"\xff", UNDECODABLE.values())
        await transport.publish([fact(2)])
        count = len(UNDECODABLE) + 2
        reader = await transport.replay(names.subscriber_queue("one"), 50)
        first = await receive(reader, count)
        assert sum(UNREADABLE in one.wire.headers for one in first) > 2  # a stream rewrites some of them
        assert [one.wire.headers[OFFSET] for one in first] == list(range(count))
        await first[0].ack()
        await first[1].dead_letter("unreadable")
        await first[-1].ack()
        proxy.cut()
        again = await receive(reader, count - 2)
        assert [one.wire.headers[OFFSET] for one in again] == list(range(2, count))
        await transport.close()


async def test_what_its_consumer_gives_back_is_parked_in_the_end(amqp_url: str, declared: Topology) -> None:
    """On every version of RabbitMQ: 4.3 counts a reject, and no nack. Without its ladder a queue gets a fact back."""
    names = Names(declared.namespace)
    queue = names.subscriber_queue("one")
    transport = await opened(amqp_url, declared)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await transport.publish([fact()])  # over a connection that first restores what is missing
        await channel.queue_delete(names.retry_queue(queue, 1))
        consumer = await transport.consume(queue, 1)
        for _ in range(DELIVERY_LIMIT + 1):
            (delivery,) = await receive(consumer)
            await delivery.retry(0.0)
        (parked,) = await receive(await transport.consume(names.dead_queue(queue), 1))
        assert "x-death" in parked.wire.headers
        await parked.ack()
    await transport.close()


async def publish_large(url: str, exchange: str, key: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(TOO_LARGE, headers={"from": "a stranger"}, delivery_mode=2)
        await (await channel.get_exchange(exchange, ensure=False)).publish(message, key)


async def test_what_is_too_large_for_a_copy_is_parked_whole_by_the_broker(amqp_url: str, declared: Topology) -> None:
    names = Names(declared.namespace)
    queue = names.service_queue("payment")
    transport = await opened(amqp_url, declared)
    await publish_large(amqp_url, names.commands, "payment")
    consumer = await transport.consume(queue, 1)
    (delivery,) = await receive(consumer)
    async with asyncio.timeout(10):
        await delivery.dead_letter("It is too large.")
    await transport.send([command()])
    await receive_and_ack(consumer)  # its place is free
    look = await transport.look(names.dead_queue(queue))
    shown = await look.take()
    assert shown
    letter = dead_letter(shown.wire, names.dead_queue(queue), names)
    assert (letter.size, letter.reason[:18], letter.exchange) == (len(TOO_LARGE), "It is too large fo", names.commands)
    with pytest.raises(StaysParked, match="no broker takes again"):
        way_back(letter, names)
    await look.close()
    (parked,) = await receive(await transport.consume(names.dead_queue(queue), 1))
    assert (len(parked.wire.body), parked.wire.headers["from"]) == (len(TOO_LARGE), "a stranger")
    assert "x-death" in parked.wire.headers
    await parked.ack()
    await transport.close()


@pytest.mark.parametrize("place", ["bounded", "log"])
async def test_where_the_broker_would_drop_it_the_beginning_is_parked(
    amqp_url: str, declared: Topology, place: str
) -> None:
    """A bounded queue has no dead-letter exchange, and a log gives nothing away."""
    names = Names(declared.namespace)
    queue = names.subscriber_queue("bounded")
    transport = await opened(amqp_url, declared)
    await publish_large(amqp_url, names.facts, "x")
    consumer = await (transport.consume(queue, 1) if place == "bounded" else transport.replay(queue, 1))
    (delivery,) = await receive(consumer)
    async with asyncio.timeout(10):
        await delivery.dead_letter("It is too large.")
    (parked,) = await receive(await transport.consume(names.dead_queue(queue), 1))
    headers = parked.wire.headers
    assert (len(parked.wire.body), headers[BODY_SIZE], headers[REASON]) == (
        MAX_BODY,
        len(TOO_LARGE),
        "It is too large.",
    )
    assert len(str(headers[BODY_SHA256])) == 64
    await parked.ack()
    await transport.close()


async def test_headers_beside_the_one_that_cannot_be_read_are_parked_with_it(amqp_url: str, declared: Topology) -> None:
    names = Names(declared.namespace)
    transport = await opened(amqp_url, declared)
    queue = names.service_queue("payment")
    headers = table((b"\xff", b"S" + long(b"x")), (b"order", b"S" + long(b"1042")))
    await throw(amqp_url, names.commands, b"payment", [flagged(HEADERS, headers)], b'{"a": 1}')
    (delivery,) = await receive(await transport.consume(queue, 1))
    await delivery.dead_letter("unreadable")
    (parked,) = await receive(await transport.consume(names.dead_queue(queue), 1))
    assert (parked.wire.headers["order"], parked.wire.body) == ("1042", b'{"a": 1}')
    await parked.ack()
    await transport.close()

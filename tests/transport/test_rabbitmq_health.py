"""A broker that goes silent, blocks or forgets a consumer is noticed at rest, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import aio_pika
import pytest
from yarl import URL

from choros.errors import BrokerUnreachable
from choros.testing.conformance.stage import command, receive
from choros.transport.port import Consumer, Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.address import HEARTBEAT, dialled, heartbeat_of
from choros.transport.rabbitmq.probes import PROBE_KEY
from choros.transport.topology import Names
from tests.captured import capture_logs
from tests.patience import LATE, PATIENCE
from tests.private_servers import PrivateRabbitMQ

from .black_hole import REQUESTS, BlackHole, black_hole
from .brokers import delete_namespace, shop

BEAT = 1
NOTICED_WITHIN = 3 * (BEAT + 1)
"""Seconds, by the issue."""


@pytest.fixture
async def names(amqp_url: str, namespace: str) -> AsyncIterator[Names]:
    """A namespace that is removed afterwards."""
    yield Names(namespace)
    await delete_namespace(amqp_url, namespace)


def impatient(url: str, names: Names) -> RabbitMQTransport:
    """A transport with every bound at about a second."""
    url = str(URL(url).update_query(heartbeat=BEAT))
    return RabbitMQTransport(url, names.namespace, "health", publish_timeout=1, connect_timeout=1, rpc_timeout=1)


@asynccontextmanager
async def at_rest(amqp_url: str, names: Names) -> AsyncIterator[tuple[BlackHole, RabbitMQTransport]]:
    """A transport behind a black hole, connected and declared."""
    async with black_hole(amqp_url) as (hole, url):
        transport = impatient(url, names)
        await transport.connect()
        await declared(transport, names)
        try:
            yield hole, transport
        finally:
            await transport.close()


async def declared(transport: RabbitMQTransport, names: Names) -> None:
    """However impatient it is: on a busy machine an answer may take longer than its second."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(BrokerUnreachable):
                return await transport.declare(shop(names.namespace))
            await asyncio.sleep(0.1)


async def until_state(transport: RabbitMQTransport, state: str, seconds: float = PATIENCE) -> float:
    """Wait for it, and say how long that took."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while transport.health.state != state:  # nobody tells us
            await asyncio.sleep(0.02)
    return time.monotonic() - started


def test_the_heartbeat_is_taken_from_the_address() -> None:
    (given,) = dialled("amqp://localhost/?heartbeat=2", "one")
    (none,) = dialled("amqp://localhost/", "one")
    (off,) = dialled("amqp://localhost/?heartbeat=0", "one")
    assert given.query["heartbeat"] == "2"
    assert [heartbeat_of(address) for address in (given, none, off)] == [2, HEARTBEAT, HEARTBEAT]


# --- noticed at rest --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("consuming", [False, True])
async def test_a_half_open_connection_is_noticed_in_time_and_said(amqp_url: str, names: Names, consuming: bool) -> None:
    async with at_rest(amqp_url, names) as (hole, transport):
        if consuming:
            await transport.consume(names.service_queue("payment"), 10)
        assert transport.health.state == "connected"
        with capture_logs() as logs:
            hole.everywhere = True
            assert await until_state(transport, "away") < NOTICED_WITHIN + LATE
            hole.mend()
            await until_state(transport, "connected")
        said = [entry["event"] for entry in logs]
        assert said.index("choros.broker.away") < said.index("choros.broker.back")
        assert await transport.send([command()]) == [Published.CONFIRMED]


@pytest.mark.slow
@pytest.mark.parametrize("request_by", ["publish", "prefetch"])
async def test_one_half_open_connection_of_the_two_is_enough(amqp_url: str, names: Names, request_by: str) -> None:
    """The probe of either connection is what the hole swallows first; the other connection lives on."""
    async with at_rest(amqp_url, names) as (hole, transport):
        hole.swallow(REQUESTS[request_by], everywhere=False)
        with capture_logs() as logs:
            assert await until_state(transport, "away") < NOTICED_WITHIN + LATE
            hole.mend()
        assert "choros.broker.silent" in [entry["event"] for entry in logs]
        await until_state(transport, "connected")


async def test_a_probe_that_is_answered_costs_nothing(amqp_url: str, names: Names) -> None:
    async with at_rest(amqp_url, names) as (_, transport):
        with capture_logs() as logs:
            await asyncio.sleep(2.5 * BEAT)
        assert (logs, transport.health.state) == ([], "connected")


async def test_a_probe_to_an_exchange_that_is_not_there_is_an_answer(amqp_url: str, names: Names) -> None:
    transport = impatient(amqp_url, names)
    await transport.connect()  # and nothing is declared: every probe is refused
    with capture_logs() as logs:
        await asyncio.sleep(2.5 * BEAT)
    assert (logs, transport.health.state) == ([], "connected")
    await transport.close()


async def test_a_probe_reaches_no_queue(amqp_url: str, names: Names) -> None:
    assert PROBE_KEY not in {binding.key for binding in shop(names.namespace).bindings}
    async with at_rest(amqp_url, names) as (_, _transport):
        await asyncio.sleep(2.5 * BEAT)
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            for queue in shop(names.namespace).queues:
                declared = await channel.declare_queue(queue.name, passive=True)
                assert declared.declaration_result.message_count == 0


async def test_a_consumer_that_the_broker_has_forgotten_is_missed(amqp_url: str, names: Names) -> None:
    """It is cancelled behind the client's back, and no `basic.cancel` is believed: only counting can tell."""
    async with at_rest(amqp_url, names) as (_, transport):
        consumer = await transport.consume(names.service_queue("payment"), 10)
        lease = consumer._lease
        assert lease is not None
        await lease.channel.basic_cancel(lease._tag, timeout=5)
        with capture_logs() as logs:
            await transport.send([command()])
            async with asyncio.timeout(10 * BEAT):
                (delivery,) = await consumer.receive(1)
            await delivery.ack()
        assert "choros.broker.consumer_lost" in [entry["event"] for entry in logs]


# --- a bound on every wait --------------------------------------------------------------------------------------------

Act = Callable[[RabbitMQTransport, Names], Awaitable[object]]


async def connecting(transport: RabbitMQTransport, names: Names) -> object:
    await transport.connect()
    await transport.declare(shop(names.namespace))
    return None


async def declaring(transport: RabbitMQTransport, names: Names) -> object:
    await transport.declare(shop(names.namespace))
    return None


async def consuming(transport: RabbitMQTransport, names: Names) -> object:
    consumer = await transport.consume(names.service_queue("payment"), 10)
    return consumer.settled.is_set()


async def publishing(transport: RabbitMQTransport, _: Names) -> object:
    return await transport.send([command()])


@pytest.mark.slow
@pytest.mark.parametrize("point", ["connect", "handshake", "open a channel"])
async def test_connecting_into_a_black_hole_fails_in_time(amqp_url: str, names: Names, point: str) -> None:
    async with black_hole(amqp_url) as (hole, url):
        hole.swallow(REQUESTS[point])
        transport = impatient(url, names)
        started = time.monotonic()
        with pytest.raises(BrokerUnreachable):
            await connecting(transport, names)
        assert time.monotonic() - started < 4 + LATE
        await transport.close()
        assert time.monotonic() - started < 12 + LATE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "act", "expected", "seconds"),
    [
        ("declare an exchange", declaring, BrokerUnreachable, 4),
        ("declare a queue", declaring, BrokerUnreachable, 4),
        ("bind", declaring, BrokerUnreachable, 4),
        ("close a channel", declaring, None, 4),
        ("open a channel", consuming, False, 2),
        ("prefetch", consuming, False, 2),
        ("consume", consuming, False, 2),
        ("publish", publishing, [Published.UNKNOWN], 2),
    ],
)
async def test_asking_into_a_black_hole_ends_in_time(
    amqp_url: str, names: Names, point: str, act: Act, expected: object, seconds: float
) -> None:
    async with at_rest(amqp_url, names) as (hole, transport):
        hole.swallow(REQUESTS[point])
        started = time.monotonic()
        result: object
        try:
            result = await act(transport, names)
        except BrokerUnreachable:
            result = BrokerUnreachable
        assert time.monotonic() - started < seconds + LATE
        assert result == expected
        closing = time.monotonic()
        await transport.close()
        assert time.monotonic() - closing < 10 + LATE


@pytest.mark.slow
@pytest.mark.parametrize("point", ["cancel", "close a channel", "anything"])
async def test_closing_into_a_black_hole_ends_in_time(amqp_url: str, names: Names, point: str) -> None:
    async with at_rest(amqp_url, names) as (hole, transport):
        consumer = await transport.consume(names.service_queue("payment"), 10)
        await transport.send([command()])
        (delivery,) = await receive(consumer)
        hole.swallow(REQUESTS.get(point, b""))
        await delivery.ack()  # never waits
        receiving: asyncio.Task[object] = asyncio.create_task(received(consumer))
        started = time.monotonic()
        await transport.close()
        assert time.monotonic() - started < 10 + LATE
        assert await receiving == []


async def received(consumer: Consumer) -> list[object]:
    return list(await consumer.receive(1))


@pytest.mark.slow
async def test_parking_and_retrying_into_a_black_hole_end_in_time(amqp_url: str, names: Names) -> None:
    async with at_rest(amqp_url, names) as (hole, transport):
        consumer = await transport.consume(names.service_queue("payment"), 10)
        await transport.send([command(), command()])
        first, second = await receive(consumer, 2)
        hole.swallow(b"")
        started = time.monotonic()
        await asyncio.gather(first.dead_letter("nobody hears this"), second.retry(1))
        assert time.monotonic() - started < NOTICED_WITHIN + LATE


# --- a memory alarm ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A RabbitMQ for this module alone."""
    private = PrivateRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    private.start()
    yield private
    private.kill(epmd=True)


@pytest.mark.servers
@pytest.mark.long
async def test_an_alarm_is_noticed_by_who_publishes_nothing(broker: PrivateRabbitMQ, namespace: str) -> None:
    names = Names(namespace)
    transport = impatient(broker.url, names)
    await transport.connect()
    await transport.declare(shop(namespace))
    await transport.consume(names.service_queue("payment"), 10)
    with capture_logs() as logs:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.0001")
        await until_state(transport, "blocked")
        await asyncio.sleep(4 * (BEAT + 1))  # a blocked broker is not a dead one: no connection is given up
        assert transport.health.state == "blocked"
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.6")
        await until_state(transport, "connected")
        assert await transport.send([command()]) == [Published.CONFIRMED]
    said = [entry["event"] for entry in logs]
    assert said == ["choros.broker.blocked", "choros.broker.back"]
    await transport.close()

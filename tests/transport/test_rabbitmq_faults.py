"""What the suite cannot ask of every adapter: broken connections, vanished queues, brokers that refuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aio_pika
import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from yarl import URL

from choros.errors import BrokerMisconfigured, BrokerUnreachable, UsageError
from choros.testing.conformance.stage import command, fact, receive, receive_and_ack
from choros.transport.copies import REASON
from choros.transport.port import Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names, Queue
from choros.wire.envelope import decode
from tests.patience import LATE, PATIENCE

from .brokers import delete_namespace, shop
from .proxy import proxied

pytestmark = pytest.mark.servers


@pytest.fixture
async def names(amqp_url: str, namespace: str) -> AsyncIterator[Names]:
    """A namespace that is removed afterwards."""
    yield Names(namespace)
    await delete_namespace(amqp_url, namespace)


async def opened(url: str, names: Names, **options: Any) -> RabbitMQTransport:
    """A connected transport with the shop declared."""
    transport = RabbitMQTransport(url, names.namespace, "faults", **options)
    await transport.connect()
    await transport.declare(shop(names.namespace))
    return transport


async def on_the_broker(url: str, act: Callable[[AbstractChannel], Awaitable[object]]) -> None:
    """Do something behind the transport's back."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await act(await channel.get_underlay_channel())


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for it."""
    async with asyncio.timeout(seconds):
        while not condition():  # nobody tells us
            await asyncio.sleep(0.01)


async def until_sent(transport: RabbitMQTransport) -> None:
    """Send until a command is confirmed."""
    async with asyncio.timeout(PATIENCE):
        while await transport.send([command()]) != [Published.CONFIRMED]:  # as a relay does
            await asyncio.sleep(0.05)


async def test_nobody_listens() -> None:
    transport = RabbitMQTransport("amqp://guest:secret@127.0.0.1:1/", "ns")
    with pytest.raises(BrokerUnreachable) as failed:
        await transport.connect()
    assert failed.value.hint
    assert "secret" not in str(failed.value)
    assert "127.0.0.1:1" in str(failed.value)


async def test_somebody_listens_and_says_nothing() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    started = time.monotonic()
    with pytest.raises(BrokerUnreachable):
        await RabbitMQTransport(f"amqp://127.0.0.1:{port}/", "ns", connect_timeout=0.3).connect()
    assert time.monotonic() - started < 2 + LATE
    for writer in writers:
        writer.transport.abort()
    server.close()


async def test_wrong_password(amqp_url: str) -> None:
    url = str(URL(amqp_url).with_password("hunter2"))
    with pytest.raises(BrokerMisconfigured, match="password") as failed:
        await RabbitMQTransport(url, "ns").connect()
    assert "hunter2" not in str(failed.value)


async def test_wrong_virtual_host(amqp_url: str) -> None:
    with pytest.raises(BrokerMisconfigured, match="virtual host"):
        await RabbitMQTransport(str(URL(amqp_url).with_path("/nowhere")), "ns").connect()


def test_an_address_of_something_else() -> None:
    with pytest.raises(UsageError):
        RabbitMQTransport("http://localhost/", "ns")


async def test_a_queue_with_other_arguments_is_named(amqp_url: str, names: Names) -> None:
    queue = names.service_queue("payment")
    await on_the_broker(amqp_url, lambda channel: channel.queue_declare(queue, durable=True))
    transport = RabbitMQTransport(amqp_url, names.namespace)
    await transport.connect()
    with pytest.raises(BrokerMisconfigured, match=queue) as failed:
        await transport.declare(shop(names.namespace))
    assert "delete" in failed.value.hint
    await transport.close()


async def test_unsettled_deliveries_come_again_after_a_cut(amqp_url: str, names: Names) -> None:
    async with proxied(amqp_url) as (proxy, url):
        transport = await opened(url, names)
        consumer = await transport.consume(names.service_queue("payment"), 10)
        sent = [command(number=number) for number in range(5)]
        await transport.send(sent)
        held = await receive(consumer, 3)
        proxy.cut()
        await until(lambda: not transport.connected)
        await until(lambda: transport.connected)
        for delivery in held:
            await delivery.ack()  # of a dead generation: dropped
        again = await receive_and_ack(consumer, 5)
        assert {envelope.id for envelope in again} == {envelope.id for envelope in sent}
        await transport.close()


async def test_ten_cuts_lose_nothing_confirmed(amqp_url: str, names: Names) -> None:
    async with proxied(amqp_url) as (proxy, url):
        transport = await opened(url, names, publish_timeout=2)
        consumer = await transport.consume(names.service_queue("payment"), 20)
        confirmed: set[str] = set()
        seen: set[str] = set()
        stopping = asyncio.Event()

        async def publishing() -> None:
            while not stopping.is_set():
                batch = [command(number=number) for number in range(20)]
                answers = await transport.send(batch)
                confirmed.update(
                    envelope.id
                    for envelope, answer in zip(batch, answers, strict=True)
                    if answer is Published.CONFIRMED
                )

        async def consuming() -> None:
            while deliveries := await consumer.receive(7):
                await asyncio.sleep(0.001)
                for delivery in deliveries:
                    seen.add(decode(delivery.wire).id)
                    await delivery.ack()

        tasks = [asyncio.create_task(publishing()), asyncio.create_task(consuming())]
        for _ in range(10):
            before = len(confirmed)
            await until(lambda before=before: len(confirmed) > before)  # type: ignore[misc]  # bound on purpose
            proxy.cut()
        await until(lambda: transport.connected)
        stopping.set()
        await tasks[0]
        await until(lambda: confirmed <= seen)
        await transport.close()
        await tasks[1]
        assert len(confirmed) >= 10


async def test_the_queue_is_deleted_under_the_consumer(amqp_url: str, names: Names) -> None:
    transport = await opened(amqp_url, names)
    queue = names.service_queue("payment")
    consumer = await transport.consume(queue, 10)
    await on_the_broker(amqp_url, lambda channel: channel.queue_delete(queue))
    await until_sent(transport)
    await receive_and_ack(consumer)
    await transport.close()


async def test_the_queue_is_replaced_by_another_kind(amqp_url: str, names: Names) -> None:
    transport = await opened(amqp_url, names)
    queue = names.service_queue("payment")
    consumer = await transport.consume(queue, 10)

    async def replace_it(channel: AbstractChannel) -> None:
        await channel.queue_delete(queue)
        await channel.queue_declare(queue, durable=True)

    await on_the_broker(amqp_url, replace_it)
    with pytest.raises(BrokerMisconfigured, match=queue):
        async with asyncio.timeout(PATIENCE):
            await consumer.receive(1)
    await transport.close()


async def test_a_missing_exchange_is_unknown_and_heals(amqp_url: str, names: Names) -> None:
    transport = await opened(amqp_url, names)
    await on_the_broker(amqp_url, lambda channel: channel.exchange_delete(names.commands))
    assert await transport.send([command(), command()]) == [Published.UNKNOWN] * 2
    assert await transport.publish([fact()]) == [Published.CONFIRMED]
    await until_sent(transport)
    await transport.close()


async def test_a_full_queue_is_nacked_and_the_stream_waits(amqp_url: str, names: Names) -> None:
    transport = RabbitMQTransport(amqp_url, names.namespace)
    await transport.connect()
    declared = shop(names.namespace)
    full = names.subscriber_queue("one")
    queues = tuple(
        Queue(queue.name, {**queue.arguments, "x-max-length": 2}) if queue.name == full else queue
        for queue in declared.queues
    )
    await transport.declare(replace(declared, queues=queues))
    answers: list[Published] = []
    async with asyncio.timeout(PATIENCE):
        while Published.NACKED not in answers:  # a quorum queue finds out a little late
            answers = list(await transport.publish([fact(seq) for seq in range(4)]))
    refused = answers.index(Published.NACKED)
    assert set(answers[:refused]) <= {Published.CONFIRMED}
    assert set(answers[refused + 1 :]) <= {Published.UNKNOWN}
    assert await transport.send([command()]) == [Published.CONFIRMED]
    await transport.close()


async def test_nodes_that_are_away_are_passed_over(amqp_url: str, names: Names, unused_tcp_port: int) -> None:
    """The first connection, and every one after it, goes to whichever node of the list answers."""
    async with proxied(amqp_url) as (proxy, one), proxied(amqp_url) as (other, two):
        ports = [str(URL(url).port) for url in (one, two)]
        url = one.replace(ports[0], f"{ports[0]},127.0.0.1:{unused_tcp_port},127.0.0.1:{ports[1]}")
        other.open = False
        transport = await opened(url, names)
        assert await transport.send([command()]) == [Published.CONFIRMED]
        proxy.open, other.open = False, True
        proxy.cut()
        await until(lambda: not transport.connected)
        await until(lambda: transport.connected)
        assert await transport.send([command()]) == [Published.CONFIRMED]
        await transport.close()


async def test_no_node_answers(unused_tcp_port_factory: Callable[[], int]) -> None:
    ports = unused_tcp_port_factory(), unused_tcp_port_factory()
    transport = RabbitMQTransport(f"amqp://guest:guest@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/", "ns")
    with pytest.raises(BrokerUnreachable, match="does not answer"):
        await transport.connect()


async def test_publishing_without_a_connection_gives_up_in_time(amqp_url: str, names: Names) -> None:
    async with proxied(amqp_url) as (proxy, url):
        transport = await opened(url, names, publish_timeout=0.5)
        proxy.open = False
        proxy.cut()
        started = time.monotonic()
        assert await transport.send([command()]) == [Published.UNKNOWN]
        assert await transport.publish([fact()]) == [Published.UNKNOWN]
        assert time.monotonic() - started < 2 + LATE
        proxy.open = True
        await until(lambda: transport.connected)
        assert await transport.send([command()]) == [Published.CONFIRMED]
        await transport.close()


async def test_a_silent_peer_is_noticed(amqp_url: str, names: Names) -> None:
    async with proxied(amqp_url) as (proxy, url):
        transport = await opened(f"{url}?heartbeat=1", names, publish_timeout=0.5)
        consumer = await transport.consume(names.service_queue("payment"), 10)
        proxy.silent = True
        assert await transport.send([command()]) == [Published.UNKNOWN]
        await until(lambda: not transport.connected)
        proxy.silent = False
        proxy.cut()
        await until(lambda: transport.connected)
        assert await transport.send([command()]) == [Published.CONFIRMED]
        await receive_and_ack(consumer)
        await transport.close()


async def test_a_message_that_amqp_cannot_carry_stops_no_other(amqp_url: str, names: Names) -> None:
    transport = await opened(amqp_url, names)
    broken = replace(command(), subject="x" * 200_000)
    assert await transport.send([command(), broken, command()]) == [
        Published.CONFIRMED,
        Published.NACKED,
        Published.CONFIRMED,
    ]
    await transport.close()


async def test_a_message_whose_headers_leave_no_room_for_more_can_be_parked(amqp_url: str, names: Names) -> None:
    async def publish(channel: AbstractChannel) -> None:
        room = channel.connection.connection_tune.frame_max - 100
        headers: dict[str, Any] = {"large": "x" * room, "small": "y"}
        properties = Basic.Properties(headers=headers, delivery_mode=2)
        await channel.basic_publish(b"{}", exchange=names.commands, routing_key="payment", properties=properties)

    transport = await opened(amqp_url, names)
    await on_the_broker(amqp_url, publish)
    (delivery,) = await receive(await transport.consume(names.service_queue("payment"), 1), 1)
    async with asyncio.timeout(PATIENCE):
        await delivery.dead_letter("it is too large")
    (parked,) = await receive(await transport.consume(names.dead_queue(names.service_queue("payment")), 1), 1)
    assert "large" in delivery.wire.headers and "large" not in parked.wire.headers
    assert (parked.wire.headers["small"], parked.wire.headers[REASON]) == ("y", "it is too large")
    await parked.ack()
    await transport.close()


async def test_parking_waits_for_its_queue(amqp_url: str, names: Names) -> None:
    transport = await opened(amqp_url, names)
    queue = names.service_queue("payment")
    consumer = await transport.consume(queue, 10)
    await transport.send([command()])
    (delivery,) = await receive(consumer)
    await on_the_broker(amqp_url, lambda channel: channel.queue_delete(names.dead_queue(queue)))
    parking = asyncio.create_task(delivery.dead_letter("nowhere to go"))
    await asyncio.sleep(0.3)
    assert not parking.done()
    await transport.declare(shop(names.namespace))
    async with asyncio.timeout(PATIENCE):
        await parking
    await receive_and_ack(await transport.consume(names.dead_queue(queue), 1))
    await transport.close()


async def test_cancelling_a_send_loses_no_answer_of_others(amqp_url: str, names: Names) -> None:
    transport = await opened(amqp_url, names)
    sending = asyncio.create_task(_send(transport, 50))
    await asyncio.sleep(0)
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    assert await _send(transport, 50) == [Published.CONFIRMED] * 50
    await transport.close()


async def _send(transport: RabbitMQTransport, count: int) -> list[Published]:
    return list(await transport.send([command(number=number) for number in range(count)]))

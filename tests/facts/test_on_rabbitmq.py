"""The log, the late subscriber and the order on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import aio_pika
import pytest
from yarl import URL

from choros.errors import BrokerMisconfigured
from choros.runtime.subscriber import catch_up as catching_up
from choros.store.barrier import Transaction, value_of
from choros.transport.port import Transport
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Subscription, topology
from tests.facts.stage import Seen, World, eventually, ledger, moved, world
from tests.transport.proxy import Proxy

pytestmark = pytest.mark.servers


@pytest.fixture
async def stage(amqp_url: str, namespace: str) -> AsyncIterator[World]:
    def open_transport() -> Transport:
        return RabbitMQTransport(amqp_url, namespace, "facts")

    async with world(open_transport, namespace) as stage:
        yield stage
    await delete(amqp_url, namespace)


async def delete(url: str, namespace: str) -> None:
    whole = topology(namespace, applications=["order"], subscribers=["ledger"])
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for name in (*(queue.name for queue in whole.queues), f"{namespace}.facts.log"):
            await channel.queue_delete(name)
        for exchange in whole.exchanges:
            await channel.exchange_delete(exchange.name)


def all_of(stage: World, **streams: int) -> Callable[[], bool]:
    whole = {name: tuple(range(1, most + 1)) for name, most in streams.items()}
    return lambda: {name: tuple(sorted(numbers)) for name, numbers in stage.written().items()} == whole


async def test_a_late_subscriber_handles_every_fact_once(stage: World) -> None:
    await stage.publish(*(moved(seq, stream) for seq in range(1, 301) for stream in "ab"))
    seen = Seen()
    starting = asyncio.create_task(stage.start(ledger(seen, from_start=True), publish_timeout=0.5))
    for seq in range(301, 401):
        await stage.publish(moved(seq, "a"), moved(seq, "b"))
    await starting
    await eventually("all are written", all_of(stage, a=400, b=400))
    await asyncio.sleep(0.7)
    assert len(seen.tried) == 800


async def test_what_a_bounded_queue_drops_is_found_in_the_log(stage: World) -> None:
    service = ledger(Seen(), queue_limit=10)
    first = await stage.start(service)
    await stage.publish(moved(1))
    await eventually("the first is written", all_of(stage, s1=1))
    await stage.stop(first)
    await stage.publish(*(moved(seq) for seq in range(2, 201)))
    await stage.start(service)
    await eventually("all are written", all_of(stage, s1=200))


async def test_replicas_take_over_from_each_other_and_the_order_stays(stage: World) -> None:
    random = Random(5)
    service = ledger(Seen(), ordered=True)
    running = [await stage.start(service, prefetch=8) for _ in range(2)]
    for turn in range(6):
        await stage.publish(*(moved(turn * 20 + n, stream) for n in range(1, 21) for stream in "ab"))
        await asyncio.sleep(random.uniform(0, 0.05))
        gone = running.pop(0)
        await (stage.stop(gone) if turn % 2 else stage.kill(gone))
        running.append(await stage.start(service, prefetch=8))
    whole = tuple(range(1, 121))
    await eventually("all are written", all_of(stage, a=120, b=120))
    assert stage.written() == {"a": whole, "b": whole}
    assert await stage.parked(f"{stage.names.facts}.ledger") == []


async def test_a_failing_fact_holds_back_its_own_stream_and_no_other(stage: World) -> None:
    seen = Seen(failing={("a", 2)})
    first = await stage.start(ledger(seen, ordered=True), delays=(3600,))
    second = await stage.start(ledger(seen, ordered=True))
    await stage.publish(*(moved(seq, stream) for seq in range(1, 6) for stream in "ab"))
    await eventually("the other goes on", lambda: stage.written() == {"a": (1,), "b": (1, 2, 3, 4, 5)})
    await eventually("it is held back", lambda: first.counts["held back"] + second.counts["held back"] == 1)
    seen.failing.clear()
    await stage.stop(first if first.counts else second)
    await eventually("its stream goes on, in order", lambda: stage.written()["a"] == (1, 2, 3, 4, 5))
    assert await stage.parked(f"{stage.names.facts}.ledger") == []


async def test_a_reader_that_loses_its_connection_goes_on_where_it_was(
    stage: World, amqp_url: str, namespace: str
) -> None:
    await stage.publish(*(moved(seq) for seq in range(1, 301)))
    proxy = Proxy(URL(amqp_url))
    url = str(await proxy.start())
    stage.open_transport = lambda: RabbitMQTransport(url, namespace, "cut")
    seen = Seen()
    subscriber = await stage.start(ledger(seen, from_start=True), prefetch=20, publish_timeout=2.0)
    await eventually("it is at it", lambda: subscriber.counts["handled"] >= 60)
    proxy.cut()
    await eventually("all are written", all_of(stage, s1=300))
    await stage.publish(moved(301))
    await eventually("it is live", all_of(stage, s1=301))
    assert len(seen.tried) == 301
    assert subscriber.counts["repeated"] < 150, "it began anew"
    await stage.stop(subscriber)
    await proxy.stop()


async def test_another_kind_of_queue_under_the_same_name_is_said_to_be_one(stage: World) -> None:
    namespace = stage.names.namespace
    await stage.publisher.declare(topology(namespace, subscribers=["ledger"]))
    with pytest.raises(BrokerMisconfigured, match="other arguments"):
        await stage.publisher.declare(topology(namespace, subscribers=[Subscription("ledger", ordered=True)]))


async def test_a_log_that_is_emptied_under_its_reader_is_read_on_from_the_new_one(
    stage: World, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "MARK_AGAIN", 0.5)
    await stage.publish(*(moved(seq) for seq in range(1, 101)))
    service = ledger(Seen(), from_start=True)
    subscriber = await stage.start(service, publish_timeout=3.0)
    await eventually("the old log is read", all_of(stage, s1=100))
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(stage.names.facts_log)
    await stage.publish(moved(101))
    await eventually("it is live", all_of(stage, s1=101))
    await eventually("it goes on", lambda: _noted(stage, service.name))
    assert subscriber.counts["handled"] == 101


async def _noted(stage: World, name: str) -> bool:
    async def look(transaction: Transaction) -> bool:
        return await transaction.read_row(f"log\x1f{stage.names.subscriber_queue(name)}") is not None

    noted = value_of(*await stage.database.run([look]))
    return bool(noted)

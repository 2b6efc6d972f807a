"""A broker of one's own to hurt: the memory alarm, and kill -9."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from choros.testing.conformance.stage import command, receive, receive_and_ack
from choros.transport.port import Published
from choros.transport.rabbitmq import RabbitMQTransport
from tests.captured import capture_logs
from tests.chaos.battlefield import delete_queue
from tests.patience import PATIENCE
from tests.private_servers import PrivateRabbitMQ

from .brokers import shop

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A RabbitMQ for this module alone."""
    private = PrivateRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    private.start()
    yield private
    private.kill(epmd=True)


async def opened(broker: PrivateRabbitMQ, namespace: str) -> RabbitMQTransport:
    transport = RabbitMQTransport(broker.url, namespace, publish_timeout=1)
    await transport.connect()
    await transport.declare(shop(namespace))
    return transport


async def sent_again(transport: RabbitMQTransport) -> None:
    """Send as a relay does: until it is confirmed."""
    async with asyncio.timeout(PATIENCE):
        while await transport.send([command()]) != [Published.CONFIRMED]:
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_an_alarm_stops_publishing_but_no_ack(broker: PrivateRabbitMQ, namespace: str) -> None:
    transport = await opened(broker, namespace)
    consumer = await transport.consume(f"{namespace}.payment", 1)
    await transport.send([command(), command()])
    (held,) = await receive(consumer)
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.0001")
    try:
        async with asyncio.timeout(PATIENCE):
            while transport.health.state != "blocked":
                assert set(await transport.send([command()])) <= {Published.UNKNOWN, Published.CONFIRMED}
        assert await transport.send([command()]) == [Published.UNKNOWN]
        await held.ack()
        await receive_and_ack(consumer)  # the prefetch is 1: the ack has been read
    finally:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.6")
    await sent_again(transport)
    await receive_and_ack(consumer)
    await transport.close()


@pytest.mark.long
async def test_kill_9_and_start_again(broker: PrivateRabbitMQ, namespace: str) -> None:
    transport = await opened(broker, namespace)
    consumer = await transport.consume(f"{namespace}.payment", 100)
    sent = [command(number=number) for number in range(20)]
    assert await transport.send(sent) == [Published.CONFIRMED] * 20
    held = await receive(consumer, 5)
    await asyncio.to_thread(broker.kill)
    assert await transport.send([command()]) == [Published.UNKNOWN]
    assert not transport.connected
    await asyncio.to_thread(broker.start)
    await sent_again(transport)
    await held[0].ack()  # of a dead generation: dropped
    received = await receive_and_ack(consumer, 21)
    assert {envelope.id for envelope in sent} <= {envelope.id for envelope in received}
    await transport.close()


@pytest.mark.long
async def test_a_queue_that_the_broker_cannot_start_again_is_named(broker: PrivateRabbitMQ, namespace: str) -> None:
    """Declared while the disk was full, its Raft configuration is empty, and RabbitMQ never starts it again. 4.3 mends
    it, and then there is nothing to name."""
    broker.kill()
    broker.start()  # it ended with the thread that started it last: see above
    transport = await opened(broker, namespace)
    queue = f"{namespace}.payment"
    consumer = await transport.consume(queue, 1)
    await asyncio.to_thread(broker.kill)
    configurations = (broker.folder / "data").glob("**/quorum/**/config")
    (own,) = [one for one in configurations if f'"{queue}"' in one.read_text()]
    own.write_text("")
    failed = {"event": "choros.broker.queue_failed", "queue": queue}
    with capture_logs() as logs:
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(PATIENCE):
            while not (named := failed in [_of(log, "event", "queue") for log in logs]):
                if transport.health.state == "connected":
                    break
                await asyncio.sleep(0.05)
    assert named or (await asyncio.to_thread(broker.ctl, "version")).strip() >= "4"
    if named:
        await asyncio.to_thread(delete_queue, broker.url, queue)  # what the log entry says
    await sent_again(transport)
    await receive_and_ack(consumer)
    await transport.close()


def _of(log: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: log[name] for name in names if name in log}

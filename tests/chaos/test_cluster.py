"""The cluster is one, and choros stays at work while its nodes are killed and cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from choros.testing.conformance.stage import command
from choros.transport.port import Consumer, Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.wire.envelope import decode
from tests.chaos.cluster import Cluster, cluster
from tests.patience import PATIENCE
from tests.transport.brokers import shop

pytestmark = [pytest.mark.servers, pytest.mark.nightly]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for this module alone."""
    with cluster(tmp_path_factory.mktemp("cluster")) as three:
        yield three


class Traffic:
    """Sends commands one after the other and keeps account of what was confirmed, and of what came."""

    def __init__(self, transport: RabbitMQTransport) -> None:
        self.transport = transport
        self.confirmed: set[str] = set()
        self.seen: set[str] = set()

    async def send(self) -> None:
        while True:
            message = command()
            if await self.transport.send([message]) == [Published.CONFIRMED]:
                self.confirmed.add(message.id)
            await asyncio.sleep(0.01)

    async def receive(self, consumer: Consumer) -> None:
        while deliveries := await consumer.receive(50):
            for delivery in deliveries:
                self.seen.add(decode(delivery.wire).id)
                await delivery.ack()

    async def flows(self) -> None:
        """Until fifty more are confirmed and everything confirmed so far has come."""
        async with asyncio.timeout(PATIENCE):
            enough = len(self.confirmed) + 50
            while len(self.confirmed) < enough:
                await asyncio.sleep(0.05)
            expected = set(self.confirmed)
            while not expected <= self.seen:
                await asyncio.sleep(0.05)


async def test_the_leader_is_killed_and_then_cut_off(three: Cluster, namespace: str) -> None:
    """What was confirmed is not lost, and the transport finds a node that works."""
    queue, everybody = f"{namespace}.payment", {node.node for node in three.nodes}
    transport = RabbitMQTransport(f"{three.url}?heartbeat=2", namespace, publish_timeout=2, connect_timeout=2)
    await transport.connect()
    await transport.declare(shop(namespace))
    traffic = Traffic(transport)
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(traffic.send())
        receiving = group.create_task(traffic.receive(await transport.consume(queue, 50)))
        await traffic.flows()
        killed = await asyncio.to_thread(three.leader, queue)
        await asyncio.to_thread(killed.kill)
        await traffic.flows()
        assert (await asyncio.to_thread(three.leader, queue)) is not killed
        await asyncio.to_thread(killed.start)
        assert await members(three, everybody) == everybody
        lonely = await asyncio.to_thread(three.leader, queue)
        three.cut_off(lonely)
        assert await members(three, everybody - {lonely.node}, lonely.number) == everybody - {lonely.node}
        await traffic.flows()
        three.reconnect(lonely)
        assert await members(three, everybody) == everybody
        await traffic.flows()
        sending.cancel()
        receiving.cancel()
    await transport.close()


async def members(three: Cluster, expected: set[str], without: int = 0) -> set[str]:
    """Who the nodes that are not cut off think is there, once it is what is expected or a minute has passed."""
    found: set[str] = set()
    asked = next(node for node in three.nodes if node.number != without)
    for _ in range(30):
        found = await asyncio.to_thread(asked.sees)
        if found == expected:
            break
        await asyncio.sleep(1)
    return found

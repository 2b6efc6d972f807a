"""The memory adapter passes the suite that defines a transport."""

from __future__ import annotations

from dataclasses import replace

import pytest

from choros.testing.conformance.attendance import AttendanceConformance
from choros.testing.conformance.fact_log import FactLogConformance
from choros.testing.conformance.giving_back import GivingBackConformance
from choros.testing.conformance.inspection import LookingConformance
from choros.testing.conformance.replicas import ReplicasConformance
from choros.testing.conformance.stage import assert_silent, command, fact, receive, receive_and_ack
from choros.testing.conformance.transport import TransportConformance
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.transport.topology import Binding, Exchange, Names, Queue, Topology, topology
from choros.wire.envelope import Wire


class TestMemory(
    TransportConformance,
    FactLogConformance,
    GivingBackConformance,
    ReplicasConformance,
    LookingConformance,
    AttendanceConformance,
):
    """Every test of the suite, on a broker of its own."""

    @pytest.fixture(autouse=True)
    def _broker(self) -> None:
        self.broker = MemoryBroker()

    def open(self, namespace: str) -> MemoryTransport:
        return MemoryTransport(self.broker, namespace, publish_timeout=1)

    async def publish_raw(self, exchange: str, key: str, wire: Wire) -> None:
        self.broker.publish(exchange, key, wire)


def declared(broker: MemoryBroker) -> Names:
    """The shop, on this broker."""
    broker.declare(topology("ns", services=["payment"], applications=["app"], subscribers=["one"]))
    return Names("ns")


async def connected(broker: MemoryBroker, patience: float = 0.05) -> MemoryTransport:
    transport = MemoryTransport(broker, "ns", publish_timeout=patience)
    await transport.connect()
    return transport


async def test_a_duplicate_on_request() -> None:
    broker = MemoryBroker()
    queue = declared(broker).service_queue("payment")
    transport = await connected(broker)
    consumer = await transport.consume(queue, 10)
    broker.duplicate(queue)
    await transport.send([command(), command()])
    received = await receive_and_ack(consumer, 3)
    assert len({envelope.id for envelope in received}) == 2
    await assert_silent(consumer, 0.01)


async def test_a_lost_connection_on_request() -> None:
    broker = MemoryBroker()
    queue = declared(broker).service_queue("payment")
    transport = await connected(broker)
    consumer = await transport.consume(queue, 10)
    await transport.send([command()])
    (held,) = await receive(consumer)
    broker.drop_connections()
    await held.ack()  # too late: it is delivered again
    await receive_and_ack(consumer)
    await assert_silent(consumer, 0.01)


async def test_a_pause_on_request() -> None:
    broker = MemoryBroker()
    queue = declared(broker).service_queue("payment")
    transport = await connected(broker)
    consumer = await transport.consume(queue, 10)
    broker.pause()
    assert await transport.send([command()]) == [Published.UNKNOWN]
    broker.resume()
    assert await transport.send([command()]) == [Published.CONFIRMED]
    await receive_and_ack(consumer)


async def test_a_missing_exchange_is_unknown() -> None:
    assert await (await connected(MemoryBroker())).send([command()]) == [Published.UNKNOWN]


async def test_a_full_queue_nacks_and_the_stream_waits() -> None:
    broker = MemoryBroker()
    whole = topology("ns", applications=["app"], subscribers=["one"])
    queues = tuple(Queue(q.name, {**q.arguments, "x-max-length": 1}) for q in whole.queues)
    broker.declare(replace(whole, queues=queues))
    answers = await (await connected(broker)).publish([fact(1), fact(2), fact(3), fact(1, "other")])
    assert answers == [Published.CONFIRMED, Published.NACKED, Published.UNKNOWN, Published.NACKED]


async def test_nothing_is_shared_by_reference() -> None:
    broker = MemoryBroker()
    broker.declare(topology("ns", applications=["app"], subscribers=["one", "two"]))
    transport = await connected(broker)
    await transport.publish([fact()])
    (delivery,) = await receive(await transport.consume("ns.facts.one", 1))
    with pytest.raises(TypeError):
        delivery.wire.headers["x"] = 1  # type: ignore[index]  # it must not work


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("shop.*", "shop.order", True),
        ("shop.*", "shop.order.paid", False),
        ("shop.#", "shop", True),
        ("shop.#", "shop.order.paid", True),
        ("#.paid", "paid", True),
        ("#", "anything.at.all", True),
        ("shop.order", "shop.other", False),
    ],
)
def test_topic_patterns(pattern: str, key: str, matches: bool) -> None:
    broker = MemoryBroker()
    exchange, queue = Exchange("t", "topic"), Queue("q")
    broker.declare(Topology("ns", (exchange,), (queue,), (Binding("t", "q", pattern),)))
    assert (broker.publish("t", key, Wire(b"", {})) is Published.CONFIRMED) is matches

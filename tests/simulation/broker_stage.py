"""What tests of the simulated broker need: a run in virtual time, a shop, and deliveries in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from choros.transport.port import Consumer, Delivery
from choros.transport.topology import Names, Topology, topology
from choros.wire.envelope import decode
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_queue import Mode
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.loop import SimLoop
from choros_verify.simulation.processes import Process, ProcessClock, context_of
from choros_verify.simulation.transport import SimTransport

T = TypeVar("T")
NAMES = Names("ns")
PAYMENT = NAMES.service_queue("payment")
ONE = NAMES.subscriber_queue("one")
MODES: tuple[Mode, ...] = ("3.10", "4.3")
NEVER = 1e6


def simulated(main: Callable[[], Coroutine[Any, Any, T]], seed: int = 0) -> T:
    """What this comes to in virtual time; a run that does not end is an AssertionError."""
    loop = SimLoop(random.Random(seed))
    clock = ProcessClock(loop.time, random.Random(seed), lambda: 0.0)
    task = loop.create_task(main(), context=context_of(Process("test"), clock))
    try:
        assert loop.run(task.done, NEVER), "it waits for ever"
        result: T = task.result()
        assert loop.trouble == []
        return result
    finally:
        loop.end()


def shop() -> Topology:
    """A service, an application and two subscribers."""
    return topology("ns", services=["payment"], applications=["app"], subscribers=["one", "two"])


@dataclass
class Shop:
    """A broker with the shop on it."""

    planned: Iterable[Fault] = ()
    mode: Mode = "4.3"
    seed: int = 0
    patience: float = 1.0
    declared: Topology = field(default_factory=shop)
    broker: SimBroker = field(init=False)

    def __post_init__(self) -> None:
        self.broker = SimBroker(Faults(self.planned), self.mode, chance=random.Random(self.seed))

    async def process(self, name: str) -> SimTransport:
        """A connected process that knows the shop."""
        transport = SimTransport(self.broker, "ns", name, publish_timeout=self.patience)
        await transport.connect()
        await transport.declare(self.declared)
        return transport


def numbers(deliveries: Sequence[Delivery]) -> list[str]:
    """Which commands these are, by the number in their subject."""
    return [decode(delivery.wire).subject.removeprefix("order-") for delivery in deliveries]


async def taken(consumer: Consumer, count: int) -> list[str]:
    """So many, acknowledged as they come: their numbers."""
    received: list[str] = []
    while len(received) < count:
        for delivery in await consumer.receive(count - len(received)):
            received += numbers([delivery])
            await delivery.ack()
    return received

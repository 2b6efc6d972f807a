"""A stage for subscribers: real ones on a broker with a fact log; the test publishes, and looks at their database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from choros.app.handler import Call
from choros.app.service import Service
from choros.messages import Fact
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import fresh_id
from choros.store.barrier import Database, Transaction
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.transport.fact_log import FactLog
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published, Transport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, decode
from tests.patience import PATIENCE
from tests.runtime.participant_stage import set_by

QUICK = (0.01, 0.02, 0.03, 0.04, 0.05)
"""Delays of an ordered subscriber, for tests."""


class Moved(Fact, name="facts.moved"):
    """Something in a stream."""

    step: int


class Stopped(Fact, name="facts.stopped"):
    """Something that nobody here reacts to."""


def moved(seq: int, stream: str = "s1", **more: Any) -> Envelope:
    """A fact of a stream."""
    fields: dict[str, Any] = {
        "id": fresh_id(), "kind": "fact", "type": Moved.type_name, "source": "/shop/order", "time": 1.0,
        "data": Moved(step=seq).to_json(), "stream": stream, "seq": seq, "correlation_id": stream,
    }  # fmt: skip
    return Envelope(**(fields | more))


@dataclass
class Seen:
    """What the handler of a subscriber met, and how it shall behave."""

    tried: list[tuple[str, int]] = field(default_factory=list)
    """Every call: stream and number."""
    failing: set[tuple[str, int]] = field(default_factory=set)

    def of(self, stream: str) -> list[int]:
        """The numbers of one stream, as they were tried."""
        return [seq for name, seq in self.tried if name == stream]


def ledger(seen: Seen, **options: Any) -> Service:
    """A service that writes every fact down through its transaction."""
    service = Service("ledger", **options)

    @service.on(Moved)
    async def write(fact: Moved, db: Transaction, call: Call) -> None:
        assert isinstance(db, MemoryTransaction)
        stream = call.correlation_id
        seen.tried.append((stream, fact.step))
        await db.put(stream, (*await db.get(stream, ()), fact.step))
        if (stream, fact.step) in seen.failing:
            raise ValueError

    return service


@dataclass
class World:
    """A broker with a fact log, a database, and subscribers that come and go."""

    open_transport: Callable[[], Transport]
    names: Names
    database: Database
    publisher: Transport
    running: dict[Subscriber, tuple[asyncio.Task[None], Transport]] = field(default_factory=dict)

    async def publish(self, *facts: Envelope) -> None:
        """Put facts on the broker, confirmed."""
        assert set(await self.publisher.publish(facts)) <= {Published.CONFIRMED}

    async def bind(self, service: Service) -> None:
        """Create the service's queue, and the log."""
        whole = topology(self.names.namespace, subscribers=[service.subscription], fact_log=FactLog())
        await self.publisher.declare(whole)

    async def start(self, service: Service, **options: Any) -> Subscriber:
        """One more subscriber, on a connection of its own."""
        transport = self.open_transport()
        await transport.connect()
        whole = topology(self.names.namespace, subscribers=[service.subscription], fact_log=FactLog())
        await transport.declare(whole)
        settings = set_by({"publish_timeout": 0.05, "delays": QUICK, **options}, Subscriber)
        subscriber = Subscriber(
            service, namespace=self.names.namespace, transport=transport, database=self.database, **settings
        )
        self.running[subscriber] = (asyncio.create_task(subscriber.run()), transport)
        return subscriber

    async def stop(self, subscriber: Subscriber) -> None:
        """End it in good order."""
        task, transport = self.running.pop(subscriber)
        await subscriber.stop()
        await task
        await transport.close()

    async def kill(self, subscriber: Subscriber) -> None:
        """Cut it off where it stands."""
        task, transport = self.running.pop(subscriber)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await transport.close()

    def written(self) -> dict[str, tuple[int, ...]]:
        """What the ledger holds of each stream, in the order in which it was written."""
        assert isinstance(self.database, MemoryDatabase)
        return dict(self.database.items)

    async def parked(self, queue: str) -> list[tuple[int, str]]:
        """Numbers and reasons of what was parked so far; it is taken out."""
        consumer = await self.publisher.consume(self.names.dead_queue(queue), 100)
        found: list[tuple[int, str]] = []
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.3):
                    for delivery in await consumer.receive(100):
                        found.append((decode(delivery.wire).seq, str(delivery.wire.headers["x-choros-reason"])))
                        await delivery.ack()
        await consumer.close()
        return found


async def eventually(what: str, check: Callable[[], bool | Awaitable[bool]], within: float = PATIENCE) -> None:
    """Return once it is so."""
    try:
        async with asyncio.timeout(within):
            while not (await answer if isinstance(answer := check(), Awaitable) else answer):
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {within:g} s in vain: {what}") from None


@contextlib.asynccontextmanager
async def world(open_transport: Callable[[], Transport] | None = None, namespace: str = "shop") -> AsyncIterator[World]:
    """On a broker in memory, unless another one is given."""
    if open_transport is None:
        broker = MemoryBroker()

        def open_transport() -> Transport:
            return MemoryTransport(broker, namespace)

    publisher, database = open_transport(), MemoryDatabase()
    await publisher.connect()
    await publisher.declare(topology(namespace, applications=["order"], fact_log=FactLog()))
    await database.open()
    made = World(open_transport, Names(namespace), database, publisher)
    try:
        yield made
    finally:
        for subscriber in list(made.running):
            await made.kill(subscriber)
        await publisher.close()

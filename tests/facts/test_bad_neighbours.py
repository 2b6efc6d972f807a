"""One subscriber is stopped, one full, one fails at every fact: nobody else notices, and nothing is lost for anyone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from choros.app.service import Service
from choros.store.barrier import Transaction
from choros.store.memory.barrier import MemoryTransaction
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Transport
from choros.transport.rabbitmq import RabbitMQTransport
from tests.facts.stage import Moved, World, eventually, moved, world
from tests.facts.test_on_rabbitmq import delete

FACTS = 30
ALL = tuple(range(1, FACTS + 1))


def keeping(name: str, *, fails: bool = False, **options: Any) -> Service:
    """A service that writes what it hears, under its own name."""
    service = Service(name, **options)

    @service.on(Moved)
    async def write(fact: Moved, db: Transaction) -> None:
        if fails:
            raise ValueError
        assert isinstance(db, MemoryTransaction)
        await db.put(name, tuple(sorted((*await db.get(name, ()), fact.step))))

    return service


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[World]:
    broker = MemoryBroker()
    async with world(lambda: MemoryTransport(broker, "shop")) as stage:
        yield stage


@contextlib.asynccontextmanager
async def on_rabbitmq(url: str, namespace: str) -> AsyncIterator[World]:
    def open_transport() -> Transport:
        return RabbitMQTransport(url, namespace, "facts")

    async with world(open_transport, namespace) as stage:
        yield stage
    await delete(url, namespace)


async def test_in_memory() -> None:
    async with in_memory() as stage:
        await nothing_is_lost(stage)


@pytest.mark.servers
async def test_on_rabbitmq(amqp_url: str, namespace: str) -> None:
    async with on_rabbitmq(amqp_url, namespace) as stage:
        await nothing_is_lost(stage)


async def nothing_is_lost(stage: World) -> None:
    stopped, full = keeping("stopped"), keeping("full", queue_limit=3)
    for service in (stopped, full):  # each was here once, and is away now
        await stage.stop(await stage.start(service))
    healthy = await stage.start(keeping("healthy"))
    crashing = await stage.start(keeping("crashing", fails=True), attempts=1)
    for step in ALL:
        await stage.publish(moved(step))
    await eventually("the healthy one has all", lambda: healthy.counts == {"handled": FACTS})
    await eventually("the crashing one has parked all", lambda: crashing.counts == {"parked": FACTS})
    assert stage.written() == {"healthy": ALL}
    for service in (stopped, full):
        await stage.start(service)
    await eventually(
        "they have caught up", lambda: stage.written() == dict.fromkeys(("full", "healthy", "stopped"), ALL)
    )
    parked = await stage.parked(stage.names.subscriber_queue("crashing"))
    assert sorted(step for step, _ in parked) == list(ALL)

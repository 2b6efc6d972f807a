"""A small saga with its service, in a hurry, for tests of what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from choros.app.app import App
from choros.app.service import Service
from choros.messages import Command, Done, Fact, Message
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.saga.nodes import Pivot, Step
from choros.saga.saga import Saga
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sagas import Store
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.wire.envelope import Envelope


class Order(Message):
    order_id: str


class Weigh(Command[Done]):
    order_id: str


class Post(Command[Done]):
    order_id: str


class Posted(Fact):
    order_id: str


def weigh(order: Order) -> Weigh:
    return Weigh(order_id=order.order_id)


def unweigh(order: Order) -> Weigh:
    return Weigh(order_id=order.order_id)


def post(order: Order) -> Post:
    return Post(order_id=order.order_id)


def posted(order: Order) -> Posted:
    return Posted(order_id=order.order_id)


SOON = timedelta(seconds=0.5)
SAGA = Saga(
    "parcel",
    start=Order,
    key=lambda order: order.order_id,
    steps=(Step(weigh, to="scales", compensation=unweigh, timeout=SOON), Pivot(post, to="scales", timeout=SOON)),
    completed=posted,
)
scales = Service("scales")


@scales.handles(Weigh)
async def weighed(command: Weigh) -> Done:
    return Done()


@scales.handles(Post)
async def handed_in(command: Post) -> Done:
    return Done()


APP = App("shop", sagas=[SAGA], services=[scales])


class Deaf(MemoryTransport):
    """Confirms nothing: what is committed stays in the outbox, as after a crash."""

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        return [Published.UNKNOWN] * len(messages)


@asynccontextmanager
async def at_work(store: Store, broker: MemoryBroker) -> AsyncIterator[tuple[Client, Orchestrator]]:
    """The whole application, in a hurry."""
    async with AsyncExitStack() as stack:
        transport, database = MemoryTransport(broker, "shop"), MemoryDatabase()
        await transport.connect()
        stack.push_async_callback(transport.close)
        await database.open()
        orchestrator = Orchestrator(
            APP, transport=transport, store=store, timers_every=0.02, resend_after=0.1, scan_every=0.05
        )
        await orchestrator.declare()
        participant = Participant(scales, namespace="shop", transport=transport, database=database)
        running = [asyncio.create_task(part.run()) for part in (orchestrator, participant)]
        try:
            yield Client(APP, store=store, transport=transport, decider=orchestrator.decider), orchestrator
        finally:
            orchestrator.stop()
            await participant.stop()
            async with asyncio.timeout(20):
                await asyncio.gather(*running)


async def begun(store: Store, keys: Sequence[str]) -> list[str]:
    """Sagas whose first command nobody has sent."""
    transport = Deaf(MemoryBroker(), "shop")
    await transport.connect()
    async with Client(APP, store=store, transport=transport) as client:
        return [await client.start(SAGA, Order(order_id=key)) for key in keys]


async def until(what: Callable[[], Any], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.02)


async def ended(client: Client, saga_ids: Sequence[str]) -> None:
    for saga_id in saga_ids:
        assert (await client.wait(saga_id, timeout=timedelta(seconds=30))).status == "completed"

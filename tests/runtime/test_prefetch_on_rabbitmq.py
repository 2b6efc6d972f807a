"""A service holds no more messages unsettled than its settings say, on a real broker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import aio_pika
import pytest

from choros.app.service import Service
from choros.app.settings import Settings
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.memory.barrier import MemoryDatabase
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names, topology
from tests.facts.stage import eventually
from tests.runtime.participant_stage import Charge, Charged, Paid, command, fact

pytestmark = pytest.mark.servers


def hanging(most: int) -> Service:
    """By its own settings it takes so many; nothing that it does ends."""
    service = Service("payment", settings=Settings(prefetch=most))

    @service.handles(Charge)
    async def charge(command: Charge) -> Charged:
        await asyncio.Event().wait()
        raise AssertionError

    @service.on(Paid)
    async def note(fact: Paid) -> None:
        await asyncio.Event().wait()

    return service


@pytest.mark.parametrize("kind", [Participant, Subscriber])
@pytest.mark.parametrize(("declared", "outside", "taken"), [(3, None, 3), (3, 5, 5)])
async def test_it_takes_what_its_settings_say(
    amqp_url: str, namespace: str, kind: type, declared: int, outside: int | None, taken: int
) -> None:
    names, transport = Names(namespace), RabbitMQTransport(amqp_url, namespace, "prefetch")
    queue = names.service_queue("payment") if kind is Participant else names.subscriber_queue("payment")
    whole = topology(namespace, services=["payment"], applications=["order"], subscribers=["payment"])
    database = MemoryDatabase()
    await database.open()
    await transport.connect()
    await transport.declare(whole)
    reply_to = names.reply_queue("order")
    await transport.send([command(Charge(order="o"), saga=f"s{n}", reply_to=reply_to) for n in range(9)])
    await transport.publish([fact(Paid(order="o"), stream=f"s{n}") for n in range(9)])
    runner = kind(
        hanging(declared), namespace=namespace, transport=transport, database=database,
        settings=Settings(prefetch=outside, drain=timedelta(0)), clock=lambda: 1_700_000_000.0,
    )  # fmt: skip
    running = asyncio.create_task(runner.run())
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()

        async def waiting() -> int:
            return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0

        await eventually("it is full", lambda: len(runner.calls._running) == taken)
        assert await waiting() == 9 - taken
        await runner.stop()
        await running
        await transport.close()
        for one in whole.queues:
            await channel.queue_delete(one.name)
        for exchange in whole.exchanges:
            await channel.exchange_delete(exchange.name)

"""Messages whose properties no client can decode, at every queue of an application: each is parked once with the
reason, no connection is lost, and nothing that came beside them is disturbed."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from choros import Addresses, App, Client, Command, Done, Fact, Message, Pivot, Saga, Service, running
from choros.testing.conformance.stage import receive
from choros.transport.copies import REASON
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.frames import LARGEST_UNREADABLE
from choros.transport.topology import Names
from choros.wire.envelope import UNREADABLE
from tests.captured import capture_logs
from tests.transport.brokers import delete
from tests.transport.strangers import UNDECODABLE, throw

SAGAS = 15
HEARD: Counter[str] = Counter()


class Go(Message):
    id: str


class Work(Command[Done], name="work"):
    id: str


class Over(Fact, name="over"):
    id: str


def work(go: Go) -> Work:
    return Work(id=go.id)


def over(go: Go) -> Over:
    return Over(id=go.id)


async def carry_out(_: Work) -> Done:
    return Done()


async def hear(fact: Over) -> None:
    HEARD[fact.id] += 1


@pytest.fixture
async def app(amqp_url: str, namespace: str) -> AsyncIterator[App]:
    HEARD.clear()
    saga = Saga("s", start=Go, key=lambda go: go.id, steps=(Pivot(work, to="worker"),), completed=over)
    worker, listener = Service("worker"), Service("listener")
    worker.handles(Work)(carry_out)
    listener.on(Over)(hear)
    app = App(namespace, sagas=[saga], services=[worker, listener])
    yield app
    await delete(amqp_url, app.topology)


def queues(names: Names) -> list[str]:
    return [names.service_queue("worker"), names.reply_queue(names.namespace), names.subscriber_queue("listener")]


async def throw_at_all(url: str, names: Names) -> None:
    """One of each at every queue; a stranger chooses the routing key of a fact, too."""
    _, replies, _ = queues(names)
    await throw(url, names.commands, b"worker", UNDECODABLE.values())
    await throw(url, names.replies, replies.encode(), UNDECODABLE.values())
    await throw(url, names.facts, b"\xff" * 100, UNDECODABLE.values())


async def run_sagas(client: Client, app: App, turn: str) -> list[str]:
    starts = [Go(id=f"{turn}-{n}") for n in range(SAGAS)]
    runs = [client.run(app.saga("s"), start, timeout=timedelta(seconds=40)) for start in starts]
    return [outcome.status for outcome in await asyncio.gather(*runs)]


async def parked(transport: RabbitMQTransport, queue: str, count: int) -> None:
    """So many wait for a person, each kind as often as another, with the reason and as they came; and no more."""
    consumer = await transport.consume(Names.dead_queue(queue), 100)
    found = await receive(consumer, count)
    assert all("cannot be decoded" in str(one.wire.headers[REASON]) for one in found)
    raw = Counter(base64.b64decode(str(one.wire.headers[UNREADABLE])) for one in found)
    assert raw == {one[:LARGEST_UNREADABLE]: count // len(UNDECODABLE) for one in UNDECODABLE.values()}
    assert all(one.wire.body == b"{}" for one in found)
    await consumer.close()


@pytest.mark.timeout(120)
async def test_they_are_parked_and_disturb_nothing(amqp_url: str, namespace: str, app: App, tmp_path: Path) -> None:
    names, addresses = Names(namespace), Addresses(amqp_url, "memory://", f"sqlite:///{tmp_path}/{{service}}.db")
    transport = RabbitMQTransport(amqp_url, namespace, "test")
    await transport.connect()
    await transport.declare(app.topology)
    await throw_at_all(amqp_url, names)
    with capture_logs() as said:
        async with running(app, addresses) as client:
            assert await run_sagas(client, app, "first") == ["completed"] * SAGAS
            throwing = asyncio.create_task(throw_at_all(amqp_url, names))
            assert await run_sagas(client, app, "second") == ["completed"] * SAGAS
            await throwing
            for queue in queues(names):
                await parked(transport, queue, 2 * len(UNDECODABLE))
            async with asyncio.timeout(30):
                while len(HEARD) < 2 * SAGAS:
                    await asyncio.sleep(0.01)
    assert set(HEARD.values()) == {1}
    assert not [line for line in said if line["event"].startswith("choros.broker.")]
    await transport.close()

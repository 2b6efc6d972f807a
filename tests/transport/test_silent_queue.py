"""A queue that does not answer stops nobody but itself: real queues, whose Raft process is suspended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import aio_pika
import pytest

from choros.testing.conformance.stage import command, fact, receive_and_ack, reply
from choros.transport.port import Consumer, Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, encode
from tests.captured import capture_logs

from .brokers import delete_namespace, shop

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

PATIENCE = 60
"""Seconds in which what is bound to happen has happened, on a machine with better things to do."""
MANY = 450
"""More than RabbitMQ reads from a channel, and then from its whole connection, behind a queue that does not answer."""


def rabbitmqctl(*arguments: str) -> None:
    servers = json.loads(Path(os.environ["CHOROS_TEST_SERVERS"]).read_text())
    environment = {**os.environ, **servers["rabbitmqctl_environment"]}
    ended = subprocess.run([servers["rabbitmqctl"], "-q", *arguments], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip()) == (0, "ok"), ended


async def leader(queue: str, verb: str) -> None:
    await asyncio.to_thread(rabbitmqctl, "eval", f"sys:{verb}('%2F_{queue}').")


@asynccontextmanager
async def silent(queue: str) -> AsyncIterator[None]:
    """This queue does not answer."""
    await leader(queue, "suspend")
    try:
        yield
    finally:
        await leader(queue, "resume")


@pytest.fixture
async def names(amqp_url: str, namespace: str) -> AsyncIterator[Names]:
    """A namespace that is removed afterwards."""
    yield Names(namespace)
    await delete_namespace(amqp_url, namespace)


@asynccontextmanager
async def opened(url: str, names: Names) -> AsyncIterator[RabbitMQTransport]:
    transport = RabbitMQTransport(url, names.namespace, "silent", publish_timeout=3, connect_timeout=5)
    await transport.connect()
    await transport.declare(shop(names.namespace))
    try:
        yield transport
    finally:
        await transport.close()


def unconfirmed(transport: RabbitMQTransport) -> list[str]:
    return list(transport.health.unconfirmed)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # nobody tells us
            await asyncio.sleep(0.1)


async def takes(send: Callable[[], Awaitable[Sequence[Published]]]) -> bool:
    return set(await send()) == {Published.CONFIRMED}


async def left_of(
    publish: Callable[[list[Envelope]], Awaitable[Sequence[Published]]], what: list[Envelope]
) -> list[Envelope]:
    """Publish these; which of them are not confirmed."""
    answers = await publish(what)
    return [one for one, answer in zip(what, answers, strict=True) if answer is not Published.CONFIRMED]


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, pytest.param(True, marks=pytest.mark.long)], ids=["cold", "warm"])
async def test_a_service_whose_queue_does_not_answer_stops_no_other(amqp_url: str, names: Names, warm: bool) -> None:
    """A channel that has never led there waits at its first message; one that has, after some hundreds."""
    destination, other = f"{names.commands}:payment", partial(reply, names.reply_queue("app"))
    async with opened(amqp_url, names) as transport:
        if warm:
            assert await transport.send([command()]) == [Published.CONFIRMED]
        with capture_logs() as logs:
            async with silent(names.service_queue("payment")):
                stuck = [command(number=number) for number in range(MANY)]
                answers = await transport.send([*stuck, other()])
                assert answers == [Published.UNKNOWN] * MANY + [Published.CONFIRMED]
                for _ in range(5):
                    assert await transport.send([*stuck, other()]) == answers
                assert unconfirmed(transport) == [destination]
                assert transport.health.state == "connected"
            await until(partial(takes, lambda: transport.send(stuck[:1])))
            assert unconfirmed(transport) == []
            while stuck:  # on a busy machine not all of them are confirmed within the publish timeout
                stuck = await left_of(transport.send, stuck)
        said = [(log["event"], log["destination"]) for log in logs if log["event"].startswith("choros.destination.")]
        assert said[:2] == [("choros.destination.silent", destination), ("choros.destination.back", destination)]


# --- consumers --------------------------------------------------------------------------------------------------------


async def test_whoever_consumes_a_queue_that_does_not_answer_keeps_its_place_and_its_connection(
    amqp_url: str, names: Names
) -> None:
    """The broker counts no consumer of it then; to subscribe anew would cost all the others theirs."""
    url = f"{amqp_url}?heartbeat=1"
    async with opened(url, names) as transport:
        consumer = await transport.consume(names.service_queue("payment"), 10)
        with capture_logs() as logs:
            async with silent(names.service_queue("payment")):
                await asyncio.sleep(4)  # some looks
                assert transport.health.state == "connected"
            assert await transport.send([command()]) == [Published.CONFIRMED]
            async with asyncio.timeout(PATIENCE):
                assert len(await receive_and_ack(consumer)) == 1
        assert "choros.broker.consumer_lost" not in {log["event"] for log in logs}


# --- facts ------------------------------------------------------------------------------------------------------------


async def heard(consumer: Consumer, everyone: set[str]) -> Counter[str]:
    """Receive until all of these have come."""
    copies: Counter[str] = Counter()
    async with asyncio.timeout(PATIENCE):
        while not copies.keys() >= everyone:
            copies.update(one.id for one in await receive_and_ack(consumer))
    return copies


@pytest.mark.parametrize("warm", [True, pytest.param(False, marks=pytest.mark.long)], ids=["warm", "cold"])
async def test_a_subscriber_whose_queue_does_not_answer_silences_no_other(
    amqp_url: str, names: Names, warm: bool
) -> None:
    facts = [fact(stream=f"saga-{number}") for number in range(MANY)]
    everyone = {one.id for one in facts}
    async with opened(amqp_url, names) as transport:
        healthy = await transport.consume(names.subscriber_queue("two"), 100)
        if warm:
            assert await transport.publish([fact(stream="warm")]) == [Published.CONFIRMED]
            await receive_and_ack(healthy)
        async with silent(names.subscriber_queue("one")):
            for _ in range(4):
                assert set(await transport.publish(facts)) == {Published.UNKNOWN}
                assert await transport.send([command()]) == [Published.CONFIRMED]
            assert unconfirmed(transport) == [f"{names.facts_of('app')}:{facts[0].type}"]
            copies = await heard(healthy, everyone)
            assert copies.total() <= 2 * MANY, "sent into the same hole again and again"
        left = facts

        async def none_is_left() -> bool:
            nonlocal left
            left = await left_of(transport.publish, left)
            return not left

        await until(none_is_left)
        assert unconfirmed(transport) == []
        late = await transport.consume(names.subscriber_queue("one"), 100)
        assert (await heard(late, everyone)).keys() >= everyone


async def test_the_detour_leads_to_every_bound_queue_with_the_key_of_the_fact(amqp_url: str, names: Names) -> None:
    """Those that nobody has told the publisher of, too, and those that want some types alone."""
    wanted, other = fact(), replace(fact(), type="shop.order.rejected")
    async with opened(amqp_url, names) as transport, await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(names.facts_by_type, wanted.type)
        detour = await channel.get_exchange(Names.detour_of(names.facts_of("app")))
        for one in (other, wanted):
            wire = encode(one)
            message = aio_pika.Message(wire.body, headers=dict(wire.headers), content_type=wire.content_type)
            await detour.publish(message, one.type)
        (told,) = await receive_and_ack(await transport.consume(names.subscriber_queue("two"), 1))
        assert told.id == other.id
        async with asyncio.timeout(PATIENCE):
            while (came := await queue.get(fail=False)) is None:
                await asyncio.sleep(0.05)
        assert came.routing_key == wanted.type


async def test_more_destinations_than_channels(amqp_url: str, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("choros.transport.rabbitmq.lane.CHANNELS", 2)
    applications = [f"app-{number}" for number in range(6)]
    whole = topology(names.namespace, applications=applications)
    async with opened(amqp_url, names) as transport:
        await transport.declare(whole)
        for _ in range(3):
            for application in applications:
                assert await transport.send([reply(names.reply_queue(application))]) == [Published.CONFIRMED]
        assert len(transport._orders._at_work) <= 3  # the one that makes room, and two
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            for queue in whole.queues:
                await channel.queue_delete(queue.name)

"""A broker that a landed version declared, with its messages in every queue, is taken over: nothing is lost of it, and
processes from before and after work side by side."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from choros.testing.conformance.stage import receive, receive_and_ack
from choros.transport.copies import RETRIES
from choros.transport.port import Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Binding, Exchange, Names, Queue, Topology, topology
from choros.wire.envelope import Envelope, Wire, encode
from tests.carried.test_carried import as_they_should_end, ended, in_files, read, upgraded
from tests.carried.trips import app
from tests.end_to_end.least import rabbitmqctl

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
BEFORE = "3bacf40"
NAMES = Names(app.namespace)


@pytest.fixture(scope="module")
def url(amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A virtual host of its own: the names are those that were written then."""
    vhost, file = f"carried-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("vhost") / "definitions.json"
    allowed = {"user": "guest", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
    file.write_text(json.dumps({"vhosts": [{"name": vhost}], "permissions": [allowed]}), encoding="utf-8")
    rabbitmqctl("import_definitions", str(file))
    yield amqp_url + vhost
    rabbitmqctl("delete_vhost", vhost)


def declared() -> Topology:
    """What that version declares."""
    was = read(BEFORE, "topology.json")
    return Topology(
        was["namespace"],
        tuple(Exchange(**one) for one in was["exchanges"]),
        tuple(Queue(**one) for one in was["queues"]),
        tuple(Binding(**one) for one in was["bindings"]),
    )


def messages(kind: str) -> list[Envelope]:
    """One of each that it wrote."""
    return [one for one in (Envelope.loads(one["stored"]) for one in read(BEFORE, "messages.json")) if one.kind == kind]


@asynccontextmanager
async def opened(url: str, declared: Topology) -> AsyncIterator[RabbitMQTransport]:
    transport = RabbitMQTransport(url, app.namespace)
    await transport.connect()
    await transport.declare(declared)
    try:
        yield transport
    finally:
        await transport.close()


async def put(channel: AbstractChannel, exchange: str, key: str, wire: Wire, **headers: Any) -> None:
    """As that version publishes."""
    message = aio_pika.Message(
        wire.body, headers={**wire.headers, **headers}, content_type="application/json", reply_to=wire.reply_to,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )  # fmt: skip
    await (await channel.get_exchange(exchange, ensure=False)).publish(message, key, mandatory=True)


async def leave(url: str) -> None:
    """What it left in the queues: commands, replies, facts, some that wait for their next try, dead letters."""
    mail = NAMES.subscriber_queue("mail")
    async with opened(url, declared()), await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for command in messages("command"):
            await put(channel, NAMES.commands, command.to, encode(command))
            await put(channel, NAMES.dead, NAMES.service_queue(command.to), encode(command))
        for reply in messages("reply"):
            await put(channel, NAMES.replies, NAMES.reply_queue(app.name), encode(reply))
        for fact in messages("fact"):
            await put(channel, NAMES.facts, fact.type, encode(fact))
            await put(channel, NAMES.retry, NAMES.retry_queue(mail, 1), encode(fact), **{RETRIES: 1})


async def emptied(url: str) -> None:
    """Delete every queue, as the test before left them."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in app.topology.queues:
            await channel.queue_delete(queue.name)


async def test_what_was_left_in_its_queues_is_still_there_and_comes(url: str) -> None:
    await emptied(url)
    await leave(url)
    async with opened(url, app.topology) as transport:
        for service in app.participants:
            sent = Counter(one.id for one in messages("command") if one.to == service)
            queue = NAMES.service_queue(service)
            for name in (queue, NAMES.dead_queue(queue)):
                came = await receive_and_ack(await transport.consume(name, 100), sent.total())
                assert Counter(one.id for one in came) == sent
        replies = await transport.consume(NAMES.reply_queue(app.name), 100)
        assert len(await receive_and_ack(replies, len(messages("reply")))) == len(messages("reply"))
        mail = await transport.consume(NAMES.subscriber_queue("mail"), 100)
        told = Counter(one.id for one in await receive_and_ack(mail, 2 * len(messages("fact"))))
        assert told == Counter([one.id for one in messages("fact")] * 2)  # at once, and from the rung


async def test_its_sagas_go_on_over_its_broker(url: str, tmp_path: Path) -> None:
    """What is in the queues is carried out, answered, heard or known again: nothing is lost, nothing done twice."""
    await emptied(url)
    await leave(url)
    carried, sagas = in_files(BEFORE, tmp_path), read(BEFORE, "sagas.json")
    await upgraded(carried.addresses)
    records = await ended(carried.addresses, sagas, RabbitMQTransport(url, app.namespace), partial(quiet, url))
    as_they_should_end(sagas, records, Counter(carried.effects()))


async def quiet(url: str) -> None:
    """Until nothing waits in any queue but those of dead letters."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        left = True
        while left:
            await asyncio.sleep(0.1)
            asked = [await channel.declare_queue(queue.name, passive=True) for queue in app.topology.queues]
            left = any(one.declaration_result.message_count for one in asked if not one.name.endswith(".dead"))


# --- side by side -----------------------------------------------------------------------------------------------------


async def test_a_new_service_answers_an_old_orchestrator_and_parks_where_an_old_one_looks(url: str) -> None:
    await emptied(url)
    command, reply = messages("command")[0], messages("reply")[0]
    service = command.to
    only_its_own = topology(app.namespace, services=[service])
    async with opened(url, declared()) as old, opened(url, only_its_own) as new:
        replies = await old.consume(NAMES.reply_queue(app.name), 10)
        answer = replace(reply, source=f"/{app.namespace}/{service}", to=NAMES.reply_queue(app.name))
        assert await new.send([answer]) == [Published.CONFIRMED]
        assert [one.id for one in await receive_and_ack(replies)] == [reply.id]
        async with await aio_pika.connect(url) as connection:
            await put(await connection.channel(), NAMES.commands, service, encode(command))
        (delivery,) = await receive(await new.consume(NAMES.service_queue(service), 1))
        await delivery.dead_letter("no")
        await receive_and_ack(await old.consume(NAMES.dead_queue(NAMES.service_queue(service)), 1))


async def test_a_new_publisher_is_heard_by_old_subscribers_and_an_old_one_by_new(url: str) -> None:
    await emptied(url)
    fact = messages("fact")[0]
    async with opened(url, declared()) as old, opened(url, topology(app.namespace, applications=[app.name])) as new:
        mail = await old.consume(NAMES.subscriber_queue("mail"), 10)
        assert await new.publish([fact]) == [Published.CONFIRMED]
        (first,) = await receive(mail)
        async with await aio_pika.connect(url) as connection:
            await put(await connection.channel(), NAMES.facts, fact.type, encode(fact))
        (second,) = await receive(mail)
        assert [first.exchange, second.exchange] == [NAMES.facts_of(app.name), NAMES.facts]
        await asyncio.gather(first.ack(), second.ack())

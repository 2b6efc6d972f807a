"""A broker of one's own: stopped, alarmed, impatient, misconfigured, strict (cases 16, 18, 20, 23, 32, 34, 36)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelClosed
from aiormq.exceptions import ChannelAccessRefused

from choros.errors import BrokerMisconfigured
from choros.testing.conformance.stage import command, receive_and_ack, reply
from choros.transport.permissions import participant
from choros.transport.port import Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.reply_queues import reply_queues
from choros.transport.topology import Names
from tests.end_to_end.shop import until
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.world import COMPLETED, open_world
from tests.patience import LATE, PATIENCE
from tests.private_servers import PrivateRabbitMQ
from tests.transport.brokers import shop
from tests.transport.proxy import proxied

pytestmark = [pytest.mark.servers, pytest.mark.slow]
HEARTBEAT = 1
NOTICED = 3 * (HEARTBEAT + 1)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A RabbitMQ for this module alone."""
    private = PrivateRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    private.start()
    yield private
    os.kill(private.pid, signal.SIGCONT)
    private.kill(epmd=True)


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel past the framework."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def at_rest(url: str, namespace: str) -> RabbitMQTransport:
    """Connected, and then nothing is asked of it."""
    transport = RabbitMQTransport(f"{url}?heartbeat={HEARTBEAT}", namespace, publish_timeout=1, connect_timeout=1)
    await transport.connect()
    await transport.declare(shop(namespace))
    await asyncio.sleep(HEARTBEAT)
    return transport


async def noticed(transport: RabbitMQTransport) -> float:
    """How long it takes to see that nobody answers."""
    started = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while transport.connected:
            await asyncio.sleep(0.05)
    return time.monotonic() - started


async def works_again(transport: RabbitMQTransport, namespace: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await transport.send([command()]) != [Published.CONFIRMED]:
            await asyncio.sleep(0.1)
    await receive_and_ack(await transport.consume(f"{namespace}.payment", 1))
    await transport.close()


# --- 18: half-open ----------------------------------------------------------------------------------------------------


async def test_a_broker_that_is_stopped_is_noticed_by_a_process_at_rest(
    broker: PrivateRabbitMQ, namespace: str
) -> None:
    transport = await at_rest(broker.url, namespace)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        assert await noticed(transport) <= NOTICED + LATE
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    await works_again(transport, namespace)


async def test_a_black_hole_is_noticed_by_a_process_at_rest(broker: PrivateRabbitMQ, namespace: str) -> None:
    async with proxied(broker.url) as (proxy, url):
        transport = await at_rest(url, namespace)
        proxy.silent = True
        assert await noticed(transport) <= NOTICED + LATE
        proxy.silent = False
        proxy.cut()
        await works_again(transport, namespace)


# --- 16: unroutable ---------------------------------------------------------------------------------------------------


async def test_a_command_that_no_queue_takes_waits_says_so_and_leaves_later(make_trip: MakeTrip, amqp_url: str) -> None:
    """Its service has not come yet: a queue is made by who consumes it, and nobody else brings it back."""
    trip = make_trip(timeout=1.0)
    async with open_world(trip) as world, world.here("packer", "van"):
        orchestrator = await world.spawn("orchestrator")
        async with raw(amqp_url) as channel:
            await channel.queue_delete(Names(trip.namespace).service_queue("till"))
        saga_id = await world.start("t1")

        async def complains() -> bool:
            said = [e for e in orchestrator.events if e["event"] == "choros.publish.unconfirmed"]
            return any(entry["outcome"] == "returned" for entry in said)

        await until("the orchestrator says that nobody takes it", complains)
        assert (await world.events(saga_id))["timed_out"] == 0  # an unsent command counts no attempt
        async with world.here("till"):
            assert (await world.outcome(saga_id)).status == "completed"
        assert world.effects("t1") == COMPLETED


# --- 20: alarms -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("on", "off"),
    [
        (("set_disk_free_limit", "9000GB"), ("set_disk_free_limit", "50MB")),
        pytest.param(
            ("set_vm_memory_high_watermark", "0.0001"),
            ("set_vm_memory_high_watermark", "0.6"),
            marks=pytest.mark.long,
        ),
    ],
    ids=["disk", "memory"],
)
async def test_an_alarm_stops_the_sagas_and_times_nothing_out(
    make_trip: MakeTrip, broker: PrivateRabbitMQ, on: tuple[str, str], off: tuple[str, str]
) -> None:
    """Commands that could not leave count no attempt, however short their timeout is."""
    trip = make_trip(broker=broker.url, timeout=0.5)
    async with open_world(trip) as world, world.here("orchestrator", "till", "packer", "van"):
        await asyncio.to_thread(broker.ctl, *on)
        try:
            ids = [await world.start(f"t{number}") for number in range(5)]
            await asyncio.sleep(3)
            for saga_id in ids:
                events = await world.events(saga_id)
                assert (events["sent"], events["timed_out"], events["completed"]) == (1, 0, 0)
        finally:
            await asyncio.to_thread(broker.ctl, *off)
        for number, saga_id in enumerate(ids):
            assert (await world.outcome(saga_id)).status == "completed"
            assert world.effects(f"t{number}") == COMPLETED


# --- 23: ack timeout --------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_handler_slower_than_the_broker_waits_for_its_ack(make_trip: MakeTrip, broker: PrivateRabbitMQ) -> None:
    """The channel is closed under it and the command delivered again; its effect is there once."""
    await asyncio.to_thread(consumer_timeout, broker, 1000, 500)
    try:
        trip = make_trip(broker=broker.url, slow=3.5, timeout=20.0)
        async with open_world(trip) as world, world.here("orchestrator", "packer", "van"):
            till = await world.spawn("till")
            saga_id = await world.start("t1")
            assert (await world.outcome(saga_id)).status == "completed"
            assert world.effects("t1") == COMPLETED
            assert till.said("choros.broker.consumer_lost") >= 1
    finally:
        await asyncio.to_thread(consumer_timeout, broker, 1800_000, 60_000)


def consumer_timeout(broker: PrivateRabbitMQ, timeout: int, look: int) -> None:
    """Milliseconds; for channels that are opened from now on."""
    for name, value in (("consumer_timeout", timeout), ("channel_tick_interval", look)):
        broker.ctl("eval", f"application:set_env(rabbit, {name}, {value}).")


# --- 32: one subscriber's queue is full -------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_full_queue_of_one_subscriber_stops_no_saga_and_doubles_nothing(
    make_trip: MakeTrip, broker: PrivateRabbitMQ
) -> None:
    """The broker nacks the facts, although the other queue has taken them: its subscriber sees them again and again."""
    trip = make_trip(broker=broker.url)
    full = Names(trip.namespace).subscriber_queue("log-book").replace(".", "\\.")
    await asyncio.to_thread(broker.ctl, "set_policy", "--apply-to", "queues", "full", f"^{full}$", '{"max-length": 1}')
    try:
        async with open_world(trip) as world, world.here("till", "packer", "van", "diary"):
            orchestrator = await world.spawn("orchestrator")
            ids = [await world.start(f"t{number}") for number in range(4)]
            for number, saga_id in enumerate(ids):
                assert (await world.outcome(saga_id)).status == "completed"
                assert world.effects(f"t{number}") == COMPLETED

            async def nacked() -> bool:
                said = [e for e in orchestrator.events if e["event"] == "choros.publish.unconfirmed"]
                return sum(int(entry["count"]) for entry in said) > 2

            await until("facts are nacked", nacked)
            async with world.here("log-book"):
                for number in range(4):
                    await world.told(f"t{number}", "log-book")
                    await world.told(f"t{number}")
    finally:
        await asyncio.to_thread(broker.ctl, "clear_policy", "full")


# --- 34: no dead-letter exchange --------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_message_that_comes_back_too_often_waits_for_its_dead_letter_exchange(
    broker: PrivateRabbitMQ, namespace: str
) -> None:
    confirm = "dead_letter_worker_publisher_confirm_timeout"
    await asyncio.to_thread(broker.ctl, "eval", f"application:set_env(rabbit, {confirm}, 2000).")
    names, declared = Names(namespace), shop(namespace)
    transport = RabbitMQTransport(broker.url, namespace)
    await transport.connect()
    await transport.declare(declared)
    async with raw(broker.url) as channel:
        await channel.exchange_delete(names.dead)
        await transport.send([command()])
        queue = await channel.get_queue(names.service_queue("payment"), ensure=False)
        dead = await channel.get_queue(names.dead_queue(names.service_queue("payment")), ensure=False)
        given_back = 0
        async with asyncio.timeout(PATIENCE):
            while given_back <= 20:
                if message := await queue.get(fail=False):
                    await message.reject(requeue=True)  # RabbitMQ 4.3 does not count a nack
                    given_back += 1
        await asyncio.sleep(1)
        assert await queue.get(fail=False) is None
        assert await dead.get(fail=False) is None
        await transport.declare(declared)
        async with asyncio.timeout(PATIENCE):
            while not (parked := await dead.get(fail=False)):
                await asyncio.sleep(0.2)
        await parked.ack()
    await transport.close()


# --- 36: who may do what ----------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_service_with_least_privilege_reads_and_writes_only_what_is_its_own(
    broker: PrivateRabbitMQ, namespace: str
) -> None:
    names = Names(namespace)
    admin = RabbitMQTransport(broker.url, namespace)
    await admin.connect()
    await admin.declare(shop(namespace))
    rights = participant(names, "payment")
    await asyncio.to_thread(broker.ctl, "add_user", namespace, "secret")
    await asyncio.to_thread(broker.ctl, "set_permissions", namespace, *rights.patterns)
    url = broker.url.replace("guest:guest", f"{namespace}:secret")
    service = RabbitMQTransport(url, namespace)
    await service.connect()
    await service.declare(replace(shop(namespace), writes=rights.writes))
    assert await admin.send([command()]) == [Published.CONFIRMED]
    assert await service.send([reply(names.reply_queue("app"))]) == [Published.CONFIRMED]
    consumer = await service.consume(names.service_queue("payment"), 1)
    await receive_and_ack(consumer)
    await consumer.close()
    with pytest.raises(BrokerMisconfigured, match="may not read the queue"):
        await (await service.consume(names.reply_queue("app"), 1)).receive(1)
    with pytest.raises(BrokerMisconfigured, match=r"may not configure the exchange.* Try: as an administrator"):
        await service.declare(shop(namespace), strictly=True)
    configure, write, read = rights.patterns
    # Since RabbitMQ 4.2.6 only who has some right to it may ask whether it is there.
    own = f"^{names.reply_queue('app')}.0123456789ab$|{read}"
    await asyncio.to_thread(broker.ctl, "set_permissions", namespace, configure, write, own)
    with pytest.raises(BrokerMisconfigured, match="choros topology apply APP --store ADDRESS"):
        await service.declare(reply_queues(namespace, "app", "0123456789ab"))
    await asyncio.to_thread(broker.ctl, "set_permissions", namespace, *rights.patterns)
    await outlives_a_deletion(broker, admin, service, names)
    await loses_its_voice(broker, service, names)
    await service.close()
    await admin.close()
    await forge(url, names)


async def outlives_a_deletion(
    broker: PrivateRabbitMQ, admin: RabbitMQTransport, service: RabbitMQTransport, names: Names
) -> None:
    """Its queue is gone for a while, and it may not create it: it waits for somebody who may."""
    consumer = await service.consume(queue := names.service_queue("payment"), 1)
    async with raw(broker.url) as channel:
        await channel.queue_delete(queue)

    async def noticed() -> bool:
        return consumer.lost

    await until("it has noticed", noticed)
    await asyncio.sleep(1)
    await admin.declare(shop(names.namespace))
    assert await admin.send([command()]) == [Published.CONFIRMED]
    await receive_and_ack(consumer)
    await consumer.close()


async def loses_its_voice(broker: PrivateRabbitMQ, service: RabbitMQTransport, names: Names) -> None:
    """What it may no longer say ends it, with the sentence, at the first try."""
    consumer = await service.consume(names.service_queue("payment"), 1)
    await asyncio.to_thread(broker.ctl, "set_permissions", names.namespace, "^$", "^$", ".*")
    await service.send([reply(names.reply_queue("app"))])
    with pytest.raises(BrokerMisconfigured, match=r"may not write to the exchange '.*payment\.replies'"):
        async with asyncio.timeout(PATIENCE):
            await consumer.receive(1)


async def forge(url: str, names: Names) -> None:
    """Past the framework, as somebody would who has got hold of the service's password."""
    others = (names.commands, names.facts, names.replies, names.replies_of("shipping"), names.retry, names.dead, "")
    for exchange in others:
        async with raw(url) as channel:
            to = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
            with pytest.raises((ChannelClosed, ChannelAccessRefused), match="access to exchange"):
                await to.publish(aio_pika.Message(b"{}"), "payment" if exchange else names.reply_queue("app"))

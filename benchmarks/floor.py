"""The floor: a bare aio-pika loop that exchanges the seven messages of the order saga, and nothing else.

The same queues as choros declares (quorum), the same bodies and headers, and the same durability: persistent,
`mandatory`, every publish confirmed before what follows from it, every delivery acknowledged by itself and only
after its answer is confirmed. Two connections, one to publish and one to consume. No store, no database, no JSON.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage

from benchmarks.measuring import Arrivals
from benchmarks.samples import Samples
from benchmarks.shop import APPLICATION, PARTICIPANTS, SUBSCRIBER
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Wire

REPLY_PREFETCH, COMMAND_PREFETCH, FACT_PREFETCH = 500, 64, 64
"""As choros has them."""


class Template:
    """A message that is sent again and again: only its ids change."""

    def __init__(self, wire: Wire, saga: str, exchange: AbstractExchange, key: str) -> None:
        self._wire = wire
        self._saga = saga.encode()
        self._exchange = exchange
        self._key = key
        self._timestamp = datetime.fromtimestamp(wire.timestamp or 0, UTC)

    async def publish(self, saga: str) -> None:
        """Publish it for this saga; raises unless the broker has taken it."""
        wire = self._wire
        message = aio_pika.Message(
            wire.body.replace(self._saga, saga.encode()),
            headers=dict(wire.headers),
            content_type=wire.content_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=saga,
            reply_to=wire.reply_to,
            message_id=uuid.uuid4().hex,
            timestamp=self._timestamp,
            type=wire.type,
            app_id=wire.app_id,
        )
        await self._exchange.publish(message, self._key, mandatory=True)


class Driver:
    """Takes sagas through their steps: command, reply, command, ... and at last the fact."""

    def __init__(self, commands: Iterable[Template], fact: Template, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self._commands = tuple(commands)
        self._fact = fact
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._facts: set[asyncio.Task[None]] = set()

    async def carry_out(self, saga: str) -> None:
        """One saga; the fact is on its way when this returns, as it is when choros calls a saga completed."""
        loop = asyncio.get_running_loop()
        for command in self._commands:
            reply = self._waiting[saga] = loop.create_future()
            await command.publish(saga)
            await reply
        del self._waiting[saga]
        task = asyncio.create_task(self._fact.publish(saga))
        self._facts.add(task)
        task.add_done_callback(self._facts.discard)

    async def finish(self) -> None:
        """Wait for the facts that are not confirmed yet."""
        await asyncio.gather(*self._facts)

    async def on_reply(self, message: AbstractIncomingMessage) -> None:
        """Acknowledge it and let its saga go on."""
        await message.ack()
        waiting = self._waiting.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def on_fact(self, message: AbstractIncomingMessage) -> None:
        """The subscriber."""
        self.arrivals.heard(message.correlation_id or "")
        await message.ack()


@dataclass(frozen=True)
class Participant:
    """Answers each command with the prepared reply, then acknowledges it."""

    reply: Template

    async def on_command(self, message: AbstractIncomingMessage) -> None:
        """The service."""
        await self.reply.publish(message.correlation_id or "")
        await message.ack()


@dataclass(frozen=True)
class Floor:
    """A contestant: the bare loop."""

    url: str
    namespace: str
    samples: Samples
    saga: str
    """The saga that the samples are of; its name has the length of all others."""
    name: str = "floor"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Driver]:
        """Connected and consuming."""
        await self._declare()
        async with AsyncExitStack() as stack:
            publishing = await _connected(self.url, stack)
            consuming = await _connected(self.url, stack)
            driver = await self._started(publishing, consuming)
            yield driver
            await driver.finish()

    async def _declare(self) -> None:
        """The very queues that choros has."""
        transport = RabbitMQTransport(self.url, self.namespace, "floor")
        try:
            await transport.connect()
            declared = topology(
                self.namespace, services=PARTICIPANTS, applications=(APPLICATION,), subscribers=(SUBSCRIBER,)
            )
            await transport.declare(declared)
        finally:
            await transport.close()

    async def _started(self, publishing: AbstractConnection, consuming: AbstractConnection) -> Driver:
        names = Names(self.namespace)
        orders, facts = await _confirmed(publishing), await _confirmed(publishing)
        commands = await orders.get_exchange(names.commands, ensure=False)
        replies = await orders.get_exchange(names.replies, ensure=False)
        published = await facts.get_exchange(names.facts, ensure=False)
        sent = [Template(command, self.saga, commands, to) for to, command, _ in self.samples.steps]
        fact = Template(self.samples.fact, self.saga, published, self.samples.fact.type or "")
        driver = Driver(sent, fact, Arrivals())
        reply_queue = names.reply_queue(APPLICATION)
        for to, _, reply in self.samples.steps:
            participant = Participant(Template(reply, self.saga, replies, reply_queue))
            await _consume(consuming, names.service_queue(to), COMMAND_PREFETCH, participant.on_command)
        await _consume(consuming, reply_queue, REPLY_PREFETCH, driver.on_reply)
        await _consume(consuming, names.subscriber_queue(SUBSCRIBER), FACT_PREFETCH, driver.on_fact)
        return driver


async def _connected(url: str, stack: AsyncExitStack) -> AbstractConnection:
    return await stack.enter_async_context(await aio_pika.connect(url, heartbeat=10))


async def _confirmed(connection: AbstractConnection) -> AbstractChannel:
    return await connection.channel(publisher_confirms=True, on_return_raises=True)


async def _consume(
    connection: AbstractConnection,
    queue: str,
    prefetch: int,
    take: Callable[[AbstractIncomingMessage], Awaitable[None]],
) -> None:
    """One channel for each queue, as choros has it."""
    channel = await connection.channel(publisher_confirms=False)
    await channel.set_qos(prefetch_count=prefetch)
    await (await channel.get_queue(queue, ensure=False)).consume(take)

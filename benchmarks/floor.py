"""The stock floor: a bare aio-pika loop that exchanges the seven messages of the order saga, and nothing else; or one
that keeps in Redis what a saga must not forget, with a call of redis-py for each step.

The same queues as choros declares (quorum), the same bodies and headers, and the same durability: persistent,
`mandatory`, every publish confirmed before what follows from it, every delivery acknowledged by itself and only
after its answer is confirmed. Two connections, one to publish and one to consume. No engine, no JSON, and no store but
where it is asked for: then the saga's state as it begins and after each reply, the reply of each participant and the
subscriber's note of the fact are kept, of the sizes that choros's have, before anything that follows from them is sent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from redis.asyncio import Redis

from benchmarks.measuring import PATIENCE, Heard, Part
from benchmarks.samples import Samples
from benchmarks.shop import APPLICATION, PARTICIPANTS, SUBSCRIBER
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Wire

REPLY_PREFETCH, COMMAND_PREFETCH, FACT_PREFETCH = 500, 64, 64
"""As choros has them."""
_CONNECTIONS = 10_000
"""To Redis at most: redis-py takes one for each call that is under way, and by itself stops at a hundred."""


class Memory:
    """What must not be forgotten; here it is."""

    async def keep(self, saga: str, what: str, text: str) -> None:
        """Return once it is kept."""


class RedisMemory(Memory):
    """It is kept in Redis, under a key for each saga and thing."""

    def __init__(self, redis: Redis, namespace: str, sample: str) -> None:
        self._redis, self._namespace, self._sample = redis, namespace, sample

    async def keep(self, saga: str, what: str, text: str) -> None:
        """One trip."""
        await self._redis.set(f"{self._namespace}:{what}:{saga}", text.replace(self._sample, saga))


class Template:
    """A message that is sent again and again: only its ids change."""

    def __init__(self, wire: Wire, saga: str, exchange: AbstractExchange, key: str) -> None:
        self.text = wire.body.decode()
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

    def __init__(self, states: Sequence[str], commands: Iterable[Template], fact: Template, memory: Memory) -> None:
        self._states = tuple(states)
        self._sent = (*commands, fact)
        self._memory = memory
        self._waiting: dict[str, asyncio.Future[AbstractIncomingMessage]] = {}
        self._facts: set[asyncio.Task[None]] = set()

    async def carry_out(self, saga: str) -> None:
        """One saga; the fact is on its way when this returns, as it is when choros calls a saga completed."""
        *commands, fact = self._sent
        first, *states = self._states
        await self._memory.keep(saga, "state", first)
        for command, state in zip(commands, states, strict=True):
            reply = self._waiting[saga] = asyncio.get_running_loop().create_future()
            await command.publish(saga)
            message = await reply
            await self._memory.keep(saga, "state", state)
            await message.ack()
        del self._waiting[saga]
        task = asyncio.create_task(fact.publish(saga))
        self._facts.add(task)
        task.add_done_callback(self._facts.discard)

    async def finish(self) -> None:
        """Wait for the facts that are not confirmed yet."""
        await asyncio.gather(*self._facts)

    async def on_reply(self, message: AbstractIncomingMessage) -> None:
        """Let its saga go on, which acknowledges it."""
        waiting = self._waiting.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


@dataclass(frozen=True)
class Participant:
    """Keeps and sends the prepared reply for each command, then acknowledges that."""

    name: str
    reply: Template
    memory: Memory

    async def on_command(self, message: AbstractIncomingMessage) -> None:
        """The service."""
        saga = message.correlation_id or ""
        await self.memory.keep(saga, self.name, self.reply.text)
        await self.reply.publish(saga)
        await message.ack()


@dataclass(frozen=True)
class Subscriber:
    """Notes each fact."""

    heard: Heard
    memory: Memory

    async def on_fact(self, message: AbstractIncomingMessage) -> None:
        """The notification."""
        saga = message.correlation_id or ""
        await self.memory.keep(saga, "fact", "")
        await message.ack()
        self.heard(saga)


async def declare_queues(url: str, namespace: str) -> None:
    """The very queues that choros has."""
    transport = RabbitMQTransport(url, namespace, "floor")
    try:
        await transport.connect()
        await transport.declare(
            topology(namespace, services=PARTICIPANTS, applications=(APPLICATION,), subscribers=(SUBSCRIBER,))
        )
    finally:
        await transport.close()


@dataclass(frozen=True)
class Floor:
    """A contestant: the bare loop."""

    url: str
    namespace: str
    samples: Samples
    saga: str
    """The saga that the samples are of; its name has the length of all others."""
    redis_url: str = ""
    """Where state is kept, if it is."""

    @asynccontextmanager
    async def opened(self, part: Part, heard: Heard) -> AsyncIterator[Driver]:
        """Connected and consuming."""
        await declare_queues(self.url, self.namespace)
        async with AsyncExitStack() as stack:
            memory = await self._memory(stack)
            publishing = await _connected(self.url, stack)
            consuming = await _connected(self.url, stack)
            driver = await self._driver(publishing, memory)
            if Part.SERVICES in part:
                await self._serve(publishing, consuming, memory, heard)
            if Part.ORCHESTRATOR in part:
                await _consume(
                    consuming, Names(self.namespace).reply_queue(APPLICATION), REPLY_PREFETCH, driver.on_reply
                )
            yield driver
            await driver.finish()

    async def _memory(self, stack: AsyncExitStack) -> Memory:
        if not self.redis_url:
            return Memory()
        redis = Redis.from_url(
            self.redis_url,
            max_connections=_CONNECTIONS,
            socket_connect_timeout=PATIENCE,  # a thousand are opened at once
        )
        await stack.enter_async_context(redis)
        return RedisMemory(redis, self.namespace, self.saga)

    async def _driver(self, publishing: AbstractConnection, memory: Memory) -> Driver:
        names, samples = Names(self.namespace), self.samples
        orders, facts = await _confirmed(publishing), await _confirmed(publishing)
        commands = await orders.get_exchange(names.commands, ensure=False)
        published = await facts.get_exchange(names.facts, ensure=False)
        sent = [Template(command, self.saga, commands, to) for to, command, _ in samples.steps]
        fact = Template(samples.fact, self.saga, published, samples.fact.type or "")
        return Driver(samples.states, sent, fact, memory)

    async def _serve(
        self, publishing: AbstractConnection, consuming: AbstractConnection, memory: Memory, heard: Heard
    ) -> None:
        names = Names(self.namespace)
        answers = await _confirmed(publishing)
        replies = await answers.get_exchange(names.replies, ensure=False)
        for to, _, reply in self.samples.steps:
            template = Template(reply, self.saga, replies, names.reply_queue(APPLICATION))
            await _consume(
                consuming, names.service_queue(to), COMMAND_PREFETCH, Participant(to, template, memory).on_command
            )
        subscriber = Subscriber(heard, memory)
        await _consume(consuming, names.subscriber_queue(SUBSCRIBER), FACT_PREFETCH, subscriber.on_fact)


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

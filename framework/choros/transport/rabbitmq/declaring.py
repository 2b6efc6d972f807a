"""Declaring a topology, remembering it, and saying in a sentence what does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from choros.errors import BrokerMisconfigured
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.topology import Binding, Exchange, Queue, Topology

RPC_SECONDS = 30.0
"""How long the broker may take to answer one question (creating a quorum queue on a busy cluster takes seconds)."""
SILENT_SECONDS = 0.2
"""A quorum queue that does not answer within 250 ms has, for the broker, no message and no consumer."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def brief_channel(connection: AbstractConnection, patience: float) -> AsyncIterator[AbstractChannel]:
    """A channel for a few questions, closed afterwards."""
    channel = await connection.channel(publisher_confirms=False, timeout=patience)
    try:
        yield channel
    finally:
        await close_channel(channel, patience)


async def close_channel(channel: AbstractChannel, patience: float) -> None:
    """Close it, if there still is a broker to tell."""
    with suppress(*CONNECTION_FAILURES):
        async with asyncio.timeout(patience):  # the client's own bound is the heartbeat, and none without one
            await channel.close()


class Declarer:
    """Knows what has to exist, and creates it on any connection."""

    def __init__(self, namespace: str, patience: float = RPC_SECONDS) -> None:
        self.patience = patience
        """Seconds for each answer of the broker."""
        self._remembered = Topology(namespace)
        self._one_at_a_time = asyncio.Lock()
        self._counting: dict[str, AbstractChannel] = {}

    async def declare(self, connection: AbstractConnection, topology: Topology) -> None:
        """Create what is missing, and remember it; raises BrokerMisconfigured."""
        async with self._one_at_a_time:
            await self._declare(connection, topology)
        self._remembered = self._remembered + topology

    async def restore(self, connection: AbstractConnection) -> None:
        """Create again what may be gone; what does not fit is only logged, the rest of the work goes on."""
        async with self._one_at_a_time:
            try:
                await self._declare(connection, self._remembered)
            except BrokerMisconfigured as fault:
                _log.error("broker.misconfigured", why=str(fault))

    async def restore_queue(self, connection: AbstractConnection, name: str) -> None:
        """Create one queue again with its bindings; raises BrokerMisconfigured if it cannot be."""
        part = self._remembered.only(name)
        if part.queues:
            await self._declare(connection, part)
        elif await self._missing(connection, Queue(name)):
            raise BrokerMisconfigured(f"The queue '{name}' does not exist.", "declare the topology before consuming.")

    def dead_letters(self, queue: str) -> bool:
        """Whether the broker moves what is rejected from this queue to its dead letters, without a loss on the way."""
        known = self._remembered.only(queue).queues
        return any(one.arguments.get("x-dead-letter-strategy") == "at-least-once" for one in known)

    async def consumers_of(self, connection: AbstractConnection, queue: str) -> int | None:
        """How many the broker counts; None if this user may not ask, or if none may only mean that the queue did not
        answer. Raises AMQPChannelError if it is not there."""
        channel = self._counting.get(queue)
        if channel is None or channel.is_closed or channel.connection is not connection:
            channel = await connection.channel(publisher_confirms=False, timeout=self.patience)
            self._counting[queue] = channel  # kept: the client leaks a little with every channel
        asked = asyncio.get_running_loop().time()
        try:
            declared = await channel.queue_declare(queue, passive=True, timeout=self.patience)
        except ChannelAccessRefused:
            return None
        at_once = asyncio.get_running_loop().time() - asked < SILENT_SECONDS
        return declared.consumer_count if declared.consumer_count or at_once else None

    async def _declare(self, connection: AbstractConnection, topology: Topology) -> None:
        try:
            async with brief_channel(connection, self.patience) as channel:
                await _declare_on(channel, topology, self.patience)
        except ChannelAccessRefused:
            # An administrator creates the topology and services only use it: then it is enough that it is there.
            await self._verify(connection, topology)

    async def _verify(self, connection: AbstractConnection, topology: Topology) -> None:
        things: tuple[Exchange | Queue, ...] = (*topology.exchanges, *topology.queues)
        for thing in things:
            if await self._missing(connection, thing):
                raise BrokerMisconfigured(
                    f"The {_named(thing)} does not exist, and this user may not create it.",
                    "let an administrator apply the topology first.",
                )

    async def _missing(self, connection: AbstractConnection, thing: Exchange | Queue) -> bool:
        """Ask passively, which needs no right to configure; who may not even ask is told that it is there."""
        try:
            async with brief_channel(connection, self.patience) as channel:
                if isinstance(thing, Exchange):
                    await channel.exchange_declare(thing.name, passive=True, timeout=self.patience)
                else:
                    await channel.queue_declare(thing.name, passive=True, timeout=self.patience)
        except ChannelNotFoundEntity as failure:
            return "no queue" in str(failure) or "no exchange" in str(failure)  # else it is only down for the moment
        except ChannelAccessRefused:
            return False
        return False


async def _declare_on(channel: AbstractChannel, topology: Topology, patience: float) -> None:
    for exchange in topology.exchanges:
        await _declare_one(channel, exchange, patience)
    for queue in topology.queues:
        await _declare_one(channel, queue, patience)
    for binding in topology.bindings:
        await _bind(channel, binding, patience)


async def _declare_one(channel: AbstractChannel, thing: Exchange | Queue, patience: float) -> None:
    try:
        if isinstance(thing, Exchange):
            await channel.exchange_declare(thing.name, exchange_type=thing.kind, durable=True, timeout=patience)
        else:
            await channel.queue_declare(thing.name, durable=True, arguments=dict(thing.arguments), timeout=patience)
    except ChannelPreconditionFailed as failure:
        raise BrokerMisconfigured(
            f"The {_named(thing)} exists with other arguments ({failure}).",
            f"choose another namespace, or empty it and delete it: rabbitmqctl delete_queue {thing.name}"
            if isinstance(thing, Queue)
            else "choose another namespace, or delete the exchange if nobody needs it.",
        ) from failure


async def _bind(channel: AbstractChannel, binding: Binding, patience: float) -> None:
    try:
        bind = channel.exchange_bind if binding.to_exchange else channel.queue_bind
        await bind(binding.destination, binding.source, binding.key, timeout=patience)
    except ChannelNotFoundEntity as failure:
        raise BrokerMisconfigured(
            f"'{binding.destination}' cannot be bound to '{binding.source}': one of them does not exist.",
            "declare both in the same topology.",
        ) from failure


def _named(thing: Exchange | Queue) -> str:
    return f"{'exchange' if isinstance(thing, Exchange) else 'queue'} '{thing.name}'"

"""Declaring a topology, remembering it, and saying in a sentence what does not fit."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from choros.errors import BrokerMisconfigured
from choros.telemetry.logs import get_logger
from choros.transport.port import NotDeclared, Seen
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.rabbitmq.refusals import denied
from choros.transport.rabbitmq.tasks import asked_for
from choros.transport.topology import Binding, Exchange, Names, Queue, Topology

RPC_SECONDS = 30.0
"""How long the broker may take to answer one question (creating a quorum queue on a busy cluster takes seconds)."""
SILENT_SECONDS = 0.2
"""A quorum queue that does not answer within 250 ms has, for the broker, no message and no consumer."""

_TIMES = 5
_AGAIN_SECONDS = 0.2

Thing = TypeVar("Thing", bound=Exchange | Queue)

_log = get_logger(__name__)


class Unbound(BrokerMisconfigured):
    """One end of a binding does not exist."""


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
            with asked_for():
                await channel.close()


async def seen_on(channel: AbstractChannel, queue: str, patience: float) -> Seen:
    """How a queue is: silent where there seems to be nothing only because it did not answer. Raises AMQPChannelError
    where it is not there, or this user may not ask."""
    asked = asyncio.get_running_loop().time()
    declared = await channel.queue_declare(queue, passive=True, timeout=patience)
    consumers, waiting = declared.consumer_count or 0, declared.message_count or 0
    at_once = asyncio.get_running_loop().time() - asked < SILENT_SECONDS
    return Seen("there", consumers, waiting) if consumers or waiting or at_once else Seen("silent")


class Declarer:
    """Knows what has to exist, and creates it on any connection."""

    def __init__(self, namespace: str, patience: float = RPC_SECONDS) -> None:
        self.patience = patience
        """Seconds for each answer of the broker."""
        self._replies = f"{Names(namespace).replies}."
        self._remembered = Topology(namespace)
        self._one_at_a_time = asyncio.Lock()
        self._counting: dict[str, AbstractChannel] = {}
        self._only_looks = False

    async def declare(self, connection: AbstractConnection, topology: Topology, *, strictly: bool = False) -> None:
        """Create what is missing, and remember it; raises BrokerMisconfigured, also where this user may not write to
        what the topology says it does. `strictly`: where it may not create, too."""
        async with self._one_at_a_time:
            await self._declare(connection, topology, strictly)
            await self._check_writes(connection, topology.writes)
        self._remembered = self._remembered + topology

    async def restore(self, connection: AbstractConnection) -> bool:
        """Create again what may be gone; what does not fit is only logged, the rest of the work goes on. Whether all
        is there."""
        async with self._one_at_a_time:
            return await self._restored(connection, self._remembered)

    async def restore_ways(self, connection: AbstractConnection) -> bool:
        """The same, but leave queues that are gone to those who consume them: where a queue is created again at once,
        RabbitMQ may not tell its consumers that the old one was deleted (seen with 3.10)."""
        async with self._one_at_a_time:
            gone = await self._missing_of(connection, self._remembered.queues)
            return await self._restored(connection, _without(self._remembered, gone))

    async def _restored(self, connection: AbstractConnection, topology: Topology) -> bool:
        try:
            await self._declare(connection, topology)
        except BrokerMisconfigured as fault:
            _log.error("choros.broker.misconfigured", why=str(fault))
            return False
        return True

    async def restore_queue(self, connection: AbstractConnection, name: str) -> None:
        """Create one queue again with its bindings; raises BrokerMisconfigured if it cannot be."""
        part = self._remembered.only(name)
        if part.queues:
            await self._declare(connection, part)
        elif await self._missing_of(connection, [Queue(name)]):
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
        try:
            seen = await seen_on(channel, queue, self.patience)
        except ChannelAccessRefused:
            return None
        return seen.consumers if seen.state == "there" else None

    async def _declare(self, connection: AbstractConnection, topology: Topology, strictly: bool = False) -> None:
        if strictly or not self._only_looks:
            try:
                await self._create(connection, topology)
            except ChannelAccessRefused as failure:
                if strictly:
                    raise denied(failure, "configure") from failure
                self._only_looks = True  # and not ask for it every time: each refusal stands in the broker's log
        if self._only_looks:
            await self._verify(connection, topology)

    async def _create(self, connection: AbstractConnection, topology: Topology, times: int = _TIMES) -> None:
        """Somebody may delete a queue right after it was declared and before it is bound: then once more."""
        try:
            async with brief_channel(connection, self.patience) as channel:
                await _declare_on(channel, topology, self.patience)
        except Unbound:
            if times == 1:
                raise
            await asyncio.sleep(_AGAIN_SECONDS)
            await self._create(connection, topology, times - 1)

    async def _verify(self, connection: AbstractConnection, topology: Topology) -> None:
        """An administrator creates the topology and services only use it: then it is enough that it is there."""
        things: list[Exchange | Queue] = [*topology.exchanges, *topology.queues]
        missing = await self._missing_of(connection, things, most=1)
        if missing:
            self._only_looks = False  # who is given the right in the meantime shall have it
            whole = "APP --store ADDRESS" if missing[0].name.startswith(self._replies) else "APP"
            raise NotDeclared(
                f"The {_named(missing[0])} does not exist, and this user may not create it.",
                f"let an administrator declare everything first: choros topology apply {whole}.",
            )

    async def _missing_of(
        self, connection: AbstractConnection, things: Sequence[Thing], most: int = sys.maxsize
    ) -> list[Thing]:
        """Ask passively, which needs no right to configure; who may not even ask is told that it is there."""
        left, missing = deque(things), list[Thing]()
        while left and len(missing) < most:
            try:
                async with brief_channel(connection, self.patience) as channel:  # until an answer ends it
                    while left:
                        await _look_for(channel, left[0], self.patience)
                        left.popleft()
            except ChannelNotFoundEntity as failure:
                asked = left.popleft()
                if "no queue" in str(failure) or "no exchange" in str(failure):  # else it is down for the moment
                    missing.append(asked)
            except ChannelAccessRefused:
                left.popleft()
        return missing

    async def _check_writes(self, connection: AbstractConnection, exchanges: Sequence[str]) -> None:
        """Publish to each and take it back: the broker looks at the permission, and nothing goes anywhere."""
        if not exchanges:
            return
        async with brief_channel(connection, self.patience) as channel:
            closing = channel.closing
            try:
                await channel.tx_select(timeout=self.patience)
                for exchange in exchanges:
                    await channel.basic_publish(b"", exchange=exchange, timeout=self.patience)
                await channel.tx_rollback(timeout=self.patience)
            except (ChannelAccessRefused, ChannelInvalidStateError) as failure:
                await asyncio.wait({closing}, timeout=self.patience)  # the client may say only that the channel is gone
                why = closing.exception() if closing.done() and not closing.cancelled() else None
                if isinstance(refusal := why or failure, ChannelAccessRefused):
                    raise denied(refusal, "write") from failure
                raise


async def _look_for(channel: AbstractChannel, thing: Exchange | Queue, patience: float) -> None:
    declare = channel.exchange_declare if isinstance(thing, Exchange) else channel.queue_declare
    await declare(thing.name, passive=True, timeout=patience)


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
        raise Unbound(
            f"'{binding.destination}' cannot be bound to '{binding.source}': one of them does not exist.",
            "declare both in the same topology.",
        ) from failure


def _named(thing: Exchange | Queue) -> str:
    return f"{'exchange' if isinstance(thing, Exchange) else 'queue'} '{thing.name}'"


def _without(topology: Topology, queues: Collection[Queue]) -> Topology:
    """The rest, without what leads to these."""
    gone = {queue.name for queue in queues}
    return replace(
        topology,
        queues=tuple(queue for queue in topology.queues if queue.name not in gone),
        bindings=tuple(one for one in topology.bindings if one.to_exchange or one.destination not in gone),
    )

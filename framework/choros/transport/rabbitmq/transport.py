"""The transport port on RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from choros.envelope import Envelope, Wire
from choros.errors import BrokerUnreachable
from choros.transport.port import Published
from choros.transport.rabbitmq.address import dialled, shown
from choros.transport.rabbitmq.blocked import BlockedWatch
from choros.transport.rabbitmq.consuming import RabbitConsumer
from choros.transport.rabbitmq.declaring import Declarer
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES, explained
from choros.transport.rabbitmq.frames import republishable
from choros.transport.rabbitmq.lane import Lane, Post
from choros.transport.rabbitmq.link import Link
from choros.transport.topology import Names, Topology


class RabbitMQTransport:
    """Two supervised connections, to publish and to consume: a blocked publisher must not stop the acks."""

    def __init__(
        self,
        url: str,
        namespace: str = "choros",
        name: str = "choros",
        *,
        publish_timeout: float = 10.0,
        connect_timeout: float = 5.0,
    ) -> None:
        self.names = Names(namespace)
        """Where messages go."""
        self._address = dialled(url, name)
        self._publish_timeout = publish_timeout
        self._connect_timeout = connect_timeout
        self._declarer = Declarer(namespace)
        self._consumers: list[RabbitConsumer] = []
        self._closed = False
        self._make_links(name)

    async def connect(self) -> None:
        """Connect for the first time; raises BrokerUnreachable or BrokerMisconfigured."""
        opened = await asyncio.gather(self._out.open(), self._in.open(), return_exceptions=True)
        failures = [failure for failure in opened if failure is not None]
        if failures:
            await self.close()
            raise failures[0]

    async def declare(self, topology: Topology) -> None:
        """Create what is missing and remember it for every reconnection; raises BrokerMisconfigured."""
        connection = self._in.connection or self._out.connection
        if connection is None:
            raise BrokerUnreachable(f"There is no connection to {shown(self._address)}.", "connect() first.")
        try:
            await self._declarer.declare(connection, topology)
        except CONNECTION_FAILURES as failure:
            raise explained(failure, self._address) from failure

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Send commands and replies, all confirms in flight together; one answer for each, in order."""
        exchanges = {"command": self.names.commands, "reply": self.names.replies, "fact": self.names.facts}
        posts = [Post(exchanges[message.kind], message.to, message) for message in messages]
        return await self._publish(self._orders, posts)

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        """Publish facts, those of one stream in order: each waits for the confirm of the one before."""
        exchange = self.names.facts
        posts = [Post(exchange, fact.type, fact, (fact.source, fact.stream)) for fact in facts]
        return await self._publish(self._facts, posts)

    async def consume(self, queue: str, prefetch: int) -> RabbitConsumer:
        """Subscribe to a queue; returns when that is done, or when it takes too long to wait for."""
        consumer = RabbitConsumer(queue, prefetch, self.names, self._declarer, self._copy)
        self._consumers = [other for other in self._consumers if not other.over] + [consumer]
        self._in.add(consumer)
        with suppress(TimeoutError):  # not wait_for: before Python 3.12 it may lose a cancellation
            async with asyncio.timeout(self._connect_timeout):
                await consumer.settled.wait()
        return consumer

    @property
    def connected(self) -> bool:
        """Whether both connections are up."""
        return self._out.connection is not None and self._in.connection is not None

    @property
    def blocked(self) -> bool:
        """Whether the broker has stopped taking what we publish (memory or disk alarm)."""
        return self._blocked.blocked

    async def close(self) -> None:
        """Close every consumer and connection; unsettled deliveries go back to their queues."""
        self._closed = True
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))
        await asyncio.gather(*(consumer.flush() for consumer in self._consumers))
        await asyncio.gather(self._in.close(), self._out.close())
        for lane in self._lanes:
            lane.close()

    def _make_links(self, name: str) -> None:
        restore = self._declarer.restore
        self._out = Link(self._address.update_query(name=f"{name} publish"), restore, self._connect_timeout)
        self._in = Link(self._address.update_query(name=f"{name} consume"), restore, self._connect_timeout)
        self._lanes = [Lane(lane, restore) for lane in ("orders", "facts", "copies")]
        self._orders, self._facts, self._copies = self._lanes
        self._blocked = BlockedWatch()
        for lane in self._lanes:
            self._out.add(lane)
        self._out.add(self._blocked)

    async def _publish(self, lane: Lane, posts: Sequence[Post]) -> list[Published]:
        if self._closed:
            return [Published.UNKNOWN] * len(posts)
        return await lane.publish(posts, self._publish_timeout)

    async def _copy(self, exchange: str, key: str, wire: Wire) -> Published:
        wire = replace(wire, headers=republishable(wire.headers))
        return (await self._publish(self._copies, [Post(exchange, key, wire)]))[0]

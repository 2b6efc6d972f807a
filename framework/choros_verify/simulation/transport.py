"""The transport port on the simulated broker: one for each simulated process."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from choros.errors import BrokerMisconfigured, BrokerUnreachable
from choros.sources import now
from choros.telemetry.logs import get_logger
from choros.transport.fact_log import MARK
from choros.transport.health import HealthRecord
from choros.transport.memory.transport import unshared
from choros.transport.port import Health, Published, Seen
from choros.transport.sending import Post, to_everyone, to_queues
from choros.transport.topology import Names, Topology
from choros.wire.envelope import Envelope, Wire
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.connection import SimConnection
from choros_verify.simulation.connection_lane import SimLane
from choros_verify.simulation.transport_consumer import ConsumerNeeds, SimConsumer, SimReplay

_log = get_logger(__name__)


class SimTransport:
    """Three connections, to publish, to consume and for facts; each may be lost, and comes back by itself."""

    def __init__(
        self,
        broker: SimBroker,
        namespace: str = "choros",
        process: str = "process",
        *,
        publish_timeout: float = 10.0,
        connect_timeout: float = 5.0,
    ) -> None:
        self.names = Names(namespace)
        """Where messages go."""
        self.process = process
        """Whose it is: faults name it, and `SimBroker.drop` ends it."""
        self._broker = broker
        self._publish_timeout = publish_timeout
        self._connect_timeout = connect_timeout
        self._remembered = Topology(namespace)
        self._owner = ConsumerNeeds(broker, process, self.names, self._restore_queue, self._copy)
        self._health = HealthRecord(process, now)
        self._closed = False
        self._consumers: list[SimConsumer] = []
        self._connections = [SimConnection(broker, self._restore, self._reassess) for _ in range(3)]
        self._in, self._out, self._telling = self._connections
        self._orders, self._facts, self._copies = (self._lane() for _ in range(3))
        self._lanes = (self._orders, self._facts, self._copies)
        self._out.add(self._orders)
        self._out.add(self._copies)
        self._telling.add(self._facts)

    async def connect(self) -> None:
        """Connect for the first time; raises BrokerUnreachable while the broker is away."""
        await self._call()
        for connection in self._connections:
            connection.open()
        self._broker.join(self)
        self._reassess()

    async def declare(self, topology: Topology, *, strictly: bool = False) -> None:
        """Create what is missing and remember it for every reconnection; raises BrokerMisconfigured."""
        await self._call()
        if not self._in.up and not self._out.up:
            raise BrokerUnreachable("There is no connection to the simulated broker.", "connect() first.")
        self._broker.declare(topology)
        self._remembered = self._remembered + topology

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Send commands and replies, all confirms in flight together; one answer for each, in order."""
        return await self._publish(self._orders, to_queues(self.names, messages))

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        """Publish facts, those of one stream in order: each waits for the confirm of the one before."""
        return await self._publish(self._facts, to_everyone(self.names, facts))

    async def consume(self, queue: str, prefetch: int) -> SimConsumer:
        """Subscribe to a queue; returns when that is done, or when it takes too long to wait for."""
        return await self._add(SimConsumer(queue, prefetch, self._owner))

    async def replay(self, queue: str, prefetch: int, since: float | None = None) -> SimConsumer:
        """Read the fact log on behalf of a subscriber's queue."""
        return await self._add(SimReplay(queue, prefetch, self._owner, since))

    async def attendance(self, queue: str) -> Seen:
        """Who consumes a queue, and what waits there."""
        await self._call()
        return self._broker.attendance(queue) if self._in.up or self._out.up else Seen("untold")

    async def mark(self, text: str) -> Published:
        """Put a mark into the fact log."""
        return await self._copy(self.names.marks, self.names.facts_log, Wire(b"{}", {MARK: text}))

    @property
    def connected(self) -> bool:
        """Whether all connections are up."""
        return all(connection.up for connection in self._connections)

    @property
    def blocked(self) -> bool:
        """Whether the broker has stopped taking what we publish."""
        return self._broker.blocked

    @property
    def health(self) -> Health:
        """Whether it is connected, blocked or away, since when and why."""
        return self._health.now

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._call()
        for consumer in self._consumers:
            await consumer.close()
        for consumer in self._consumers:
            await consumer.drop()  # once what was settled has arrived
        self._end()
        self._health.end()

    # What the broker does to it.

    def lose(self, *, publishing: bool, consuming: bool, keep: bool) -> None:
        """Its connections are lost."""
        if publishing:
            self._out.lose(keep)
            self._telling.lose(keep)
        if consuming:
            self._in.lose(keep)
        self._reassess()

    def die(self) -> None:
        """Its process is gone: what was on its way may arrive, and nothing of it acts any more."""
        self._closed = True
        for lane in self._lanes:
            lane.die()
        for consumer in self._consumers:
            consumer.die()
        self._end()

    def block(self) -> None:
        for lane in self._lanes:
            lane.block()
        self._reassess()

    def unblock(self) -> None:
        for lane in self._lanes:
            lane.unblock()
        self._reassess()

    def _reassess(self) -> None:
        if not self.connected:
            self._health.note("away", "the connection is lost")
        elif self.blocked:
            self._health.note("blocked", "an alarm")
        else:
            self._health.note("connected")

    def _lane(self) -> SimLane:
        return SimLane(
            self._broker,
            self.process,
            self._restore,
            lambda destination, doubted: self._health.note_destination(destination, not doubted),
        )

    def _end(self) -> None:
        for connection in self._connections:
            connection.close()
        for lane in self._lanes:
            lane.sending.close()
        self._broker.leave(self)

    def _restore(self) -> None:
        """Create again what may be gone; what does not fit is only logged, the rest of the work goes on."""
        try:
            self._broker.declare(self._remembered)
        except BrokerMisconfigured as fault:
            _log.error("choros.broker.misconfigured", why=str(fault))

    def _restore_queue(self, queue: str) -> None:
        """Create one queue again with its bindings; raises BrokerMisconfigured if it cannot be."""
        self._broker.declare(self._remembered.only(queue))

    async def _add(self, consumer: SimConsumer) -> SimConsumer:
        await self._call()
        self._consumers = [other for other in self._consumers if not other.over] + [consumer]
        self._in.add(consumer)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._connect_timeout):
                await consumer.settled.wait()
        return consumer

    async def _call(self) -> None:
        """A question and its answer."""
        network = self._broker.network
        await asyncio.sleep(network.seconds(network.latency.call))

    async def _publish(self, lane: SimLane, posts: Sequence[Post]) -> list[Published]:
        if self._closed:
            return [Published.UNKNOWN] * len(posts)
        return await lane.publish(posts, self._publish_timeout)

    async def _copy(self, exchange: str, key: str, wire: Wire) -> Published:
        return (await self._publish(self._copies, [Post(exchange, key, unshared(wire))]))[0]

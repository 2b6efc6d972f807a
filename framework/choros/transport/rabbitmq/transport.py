"""The transport port on RabbitMQ."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from aiormq.abc import AbstractConnection
from aiormq.connection import TransportFactory

from choros.errors import BrokerUnreachable, shown
from choros.telemetry.logs import get_logger
from choros.transport.fact_log import MARK
from choros.transport.health import HealthRecord
from choros.transport.log_place import LogPlace
from choros.transport.port import Health, Published, Seen
from choros.transport.rabbitmq.address import dialled, from_anywhere, heartbeat_of
from choros.transport.rabbitmq.attendance import Attendance
from choros.transport.rabbitmq.blocked import BlockedWatch
from choros.transport.rabbitmq.consumer import RabbitConsumer
from choros.transport.rabbitmq.declarations import RPC_SECONDS, Declarer
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES, explained
from choros.transport.rabbitmq.frames import republishable
from choros.transport.rabbitmq.inspection import RabbitLook
from choros.transport.rabbitmq.lane import Lane
from choros.transport.rabbitmq.link import Link, Resident
from choros.transport.rabbitmq.probes import Probe, by_asking, by_publishing
from choros.transport.rabbitmq.refusals import denied
from choros.transport.rabbitmq.repair import Mending
from choros.transport.rabbitmq.replay import RabbitReplay
from choros.transport.rabbitmq.stranded import StrandedWatch
from choros.transport.rabbitmq.tasks import asked_for, end
from choros.transport.sending import Post, to_everyone, to_queues
from choros.transport.topology import Names, Topology
from choros.values import replace
from choros.wire.envelope import Envelope, Wire

_log = get_logger(__name__)


class RabbitMQTransport:
    """Three supervised connections: to publish and to consume, since a blocked publisher must not stop the acks; and,
    opened with the first of them, one for facts, which must not stop commands.

    The address may name several nodes of a cluster (`amqp://user:password@one:5672,two:5672/vhost`): each connection
    is to any one of them, at first all to the same, and moves to another when it is lost or confirms nothing.
    """

    def __init__(
        self,
        url: str,
        namespace: str = "choros",
        name: str = "choros",
        *,
        publish_timeout: float = 10.0,
        connect_timeout: float = 5.0,
        rpc_timeout: float = RPC_SECONDS,
        opening: TransportFactory | None = None,
    ) -> None:
        self.names = Names(namespace)
        """Where messages go."""
        self._addresses = from_anywhere(dialled(url, name))
        self._opening = opening
        self._publish_timeout = publish_timeout
        self._connect_timeout = connect_timeout
        self._declarer = Declarer(namespace, rpc_timeout)
        self._heartbeat = heartbeat_of(self._addresses[0])
        self._health = HealthRecord(name)
        self._consumers: list[RabbitConsumer] = []
        self._begun = self._closed = False
        self._mending = Mending(self._declarer.restore_ways, publish_timeout)
        self._attendance = Attendance()
        self._looking: asyncio.Task[bool] | None = None
        self._make_links(name)

    async def connect(self) -> None:
        opened = await asyncio.gather(self._out.open(), self._in.open(), return_exceptions=True)
        failures = [failure for failure in opened if failure is not None]
        if failures:
            await self.close()
            raise failures[0]
        self._begun = True

    async def declare(self, topology: Topology, *, strictly: bool = False) -> None:
        """Create what is missing and remember it for every reconnection; raises BrokerMisconfigured."""
        connection = self._in.connection or self._out.connection
        if connection is None:
            raise self._away()
        try:
            with asked_for():
                await self._declarer.declare(connection, topology, strictly=strictly)
        except CONNECTION_FAILURES as failure:
            raise explained(failure, self._in.address) from failure

    def _away(self) -> BrokerUnreachable:
        where = shown(str(self._in.address))
        if self._begun:
            return BrokerUnreachable(f"The connection to the broker at {where} is lost.", "is it running there?")
        return BrokerUnreachable(f"There is no connection to {where}.", "connect() first.")

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Send commands and replies, all confirms in flight together; one answer for each, in order."""
        began = asyncio.get_running_loop().time()
        answers = await self._publish(self._orders, to_queues(self.names, messages))
        if Published.RETURNED in answers and (self._looking is None or self._looking.done()):
            # Whoever sends them will send them again, and need not wait for this.
            self._looking = asyncio.create_task(self._mending.look(self._out.connection, began))
        return answers

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        """Publish facts, those of one stream in order: each waits for the confirm of the one before."""
        if self._begun:
            self._telling.open_soon()
        posts = to_everyone(self.names, facts)
        began = asyncio.get_running_loop().time()
        answers = await self._publish(self._facts, posts)
        return await self._again(posts, answers, began) if Published.RETURNED in answers else answers

    async def _again(self, facts: Sequence[Post], answers: list[Published], began: float) -> list[Published]:
        """Nobody is bound to the facts, or somebody has deleted what they go through: that must not count as sent."""
        returned = [place for place, answer in enumerate(answers) if answer is Published.RETURNED]
        if await self._mending.look(self._out.connection, began):
            again = await self._publish(self._facts, [facts[place] for place in returned])
            answers = [*answers]
            for place, answer in zip(returned, again, strict=True):
                answers[place] = answer
        if not self._mending.whole:
            return [Published.UNKNOWN if answer is Published.RETURNED else answer for answer in answers]
        return answers

    async def consume(self, queue: str, prefetch: int) -> RabbitConsumer:
        """Subscribe to a queue; returns when that is done, or when it takes too long to wait for."""
        consumer = RabbitConsumer(
            queue, prefetch, self.names, self._declarer, self._copy, watch_every=self._heartbeat, changed=self._reassess
        )
        await self._settle_in(consumer)
        return consumer

    async def replay(self, queue: str, prefetch: int, since: float | None = None) -> RabbitReplay:
        """Read the fact log on behalf of a subscriber's queue."""
        reader = RabbitReplay(
            self.names.facts_log, prefetch, self.names, self._declarer, self._copy, changed=self._reassess
        )
        reader.settles_for, reader.since, reader.place = queue, since, LogPlace()
        await self._settle_in(reader)
        return reader

    async def look(self, queue: str) -> RabbitLook:
        """Begin to look through a queue."""
        return await RabbitLook.begin(self._in.connection, queue, self.names, self._copy)

    async def post(self, exchange: str, key: str, wire: Wire) -> Published:
        """Publish a message as it is, anywhere."""
        return await self._copy(exchange, key, wire)

    async def attendance(self, queue: str) -> Seen:
        """Who consumes a queue, and what waits there."""
        return await self._attendance.ask(self._in.connection or self._out.connection, queue)

    async def mark(self, text: str) -> Published:
        """Put a mark into the fact log."""
        return await self._copy(self.names.marks, self.names.facts_log, Wire(b"{}", {MARK: text}))

    async def _settle_in(self, consumer: RabbitConsumer) -> None:
        self._consumers = [other for other in self._consumers if not other.over] + [consumer]
        self._in.add(consumer)
        with suppress(TimeoutError):  # not wait_for: before Python 3.12 it may lose a cancellation
            async with asyncio.timeout(self._connect_timeout):
                await consumer.settled.wait()

    @property
    def connected(self) -> bool:
        """Whether all connections are up."""
        return self._out.connection is not None and self._in.connection is not None and not self._telling.lost

    @property
    def health(self) -> Health:
        """How the broker is, as far as this process knows."""
        return self._health.now

    def _reassess(self) -> None:
        lost = [consumer.queue for consumer in self._consumers if consumer.lost]
        if self._closed:
            return
        if not self.connected:
            self._health.note("away", "no connection")
        elif lost:
            self._health.note("away", f"{lost[0]} is not being consumed")
        elif self._is_blocked():
            self._health.note("blocked", "it takes nothing: a memory or disk alarm")
        else:
            self._health.note("connected")

    async def close(self) -> None:
        self._closed = True
        self._health.end()
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))
        await asyncio.gather(*(consumer.flush() for consumer in self._consumers))
        if self._looking is not None:
            await end({self._looking})
        await asyncio.gather(self._in.close(), self._out.close(), self._telling.close())
        for lane in self._lanes:
            lane.sending.close()

    def _make_links(self, name: str) -> None:
        restore = self._declarer.restore
        links = (self._link(f"{name} {way}", restore) for way in ("publish", "consume", "facts"))
        self._out, self._in, self._telling = links
        self._lanes = [self._lane(lane, restore) for lane in ("orders", "facts", "copies")]
        self._orders, self._facts, self._copies = self._lanes
        self._watches = [self._publish_on(self._out, self._orders, self._copies)]
        self._watches.append(self._publish_on(self._telling, self._facts))
        self._in.add(Probe(by_asking, self._heartbeat))

    def _lane(self, name: str, restore: Callable[[AbstractConnection], Awaitable[object]]) -> Lane:
        return Lane(
            name,
            restore,
            doubted=lambda destination, doubted: self._health.note_destination(destination, not doubted),
            may_doubt=lambda: not self._is_blocked(),  # an alarm stops them all, and is no destination's fault
            denied=self._denied,
            detour=Names.detour_of if name == "facts" else None,
        )

    def _denied(self, failure: BaseException) -> None:
        """A role that may not say what it has to is of no use; who only starts sagas finds this in the log."""
        fault = denied(failure, "write")
        if not self._consumers:
            _log.error("choros.broker.misconfigured", why=str(fault))
        for consumer in self._consumers:
            consumer.fail(fault)

    def _publish_on(self, link: Link, *lanes: Lane) -> BlockedWatch:
        watch = BlockedWatch(self._reassess)
        probe = Probe(by_publishing(self.names.probe), self._heartbeat, lambda: watch.blocked)
        residents: list[Resident] = [*lanes, watch, probe]
        if len(self._addresses) > 1:
            residents.append(StrandedWatch([lane.sending for lane in lanes], lambda: self._leave(link)))
        for resident in residents:
            link.add(resident)
        return watch

    def _leave(self, silent: Link) -> None:
        """All connections to it: one that only consumes hears nothing there, and cannot tell why."""
        _log.warning("choros.broker.node_left", connection=silent.name, why="it confirms nothing")
        for link in (self._out, self._in, self._telling):
            if link.address.authority == silent.address.authority:
                link.leave()

    def _is_blocked(self) -> bool:
        return any(watch.blocked for watch in self._watches)

    def _link(self, name: str, restore: Callable[[AbstractConnection], Awaitable[object]]) -> Link:
        named = tuple(address.update_query(name=name) for address in self._addresses)
        return Link(named, restore, self._connect_timeout, self._reassess, self._opening)

    async def _publish(self, lane: Lane, posts: Sequence[Post]) -> list[Published]:
        if self._closed:
            return [Published.UNKNOWN] * len(posts)
        return await lane.publish(posts, self._publish_timeout)

    async def _copy(self, exchange: str, key: str, wire: Wire) -> Published:
        wire = replace(wire, headers=republishable(wire.headers))
        return (await self._publish(self._copies, [Post(exchange, key, wire)]))[0]

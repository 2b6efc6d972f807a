"""The transport port on a broker in memory."""

import asyncio
from collections.abc import Callable, Sequence
from types import MappingProxyType

from choros.errors import BrokerMisconfigured
from choros.telemetry.logs import get_logger
from choros.transport.copies import RETURNS
from choros.transport.fact_log import MARK
from choros.transport.health import HealthRecord
from choros.transport.leased import CopyTo, Lease, LeasedDelivery
from choros.transport.memory.broker import MemoryBroker
from choros.transport.memory.inspection import MemoryLook
from choros.transport.memory.queues import Line, MemoryQueue, QueuedMessage
from choros.transport.port import Health, Published, Seen
from choros.transport.recipient import Recipient
from choros.transport.sending import Post, one_by_one, order_of, to_everyone, to_queues
from choros.transport.topology import Names, Queue, Topology
from choros.values import replace
from choros.wire.envelope import Envelope, Wire, encode

log = get_logger(__name__)

_TURN = 64
"""Messages published before the consumers get a turn."""


class _MemoryLease(Lease):
    """What a line's deliveries are settled through."""

    def __init__(self, queue: str, names: Names, copy_to: CopyTo, line: Line) -> None:
        super().__init__(queue, names, copy_to)
        self.line = line

    def acknowledge(self, tag: int) -> None:
        self.line.settle(tag)

    def give_back(self, tag: int) -> None:
        self.line.give_back(tag)


class MemoryConsumer:
    """A subscription to a queue in memory."""

    def __init__(self, lease: _MemoryLease) -> None:
        self._lease = lease
        self._receiver = Recipient(lease.line.inbox)

    async def receive(self, limit: int) -> Sequence[LeasedDelivery]:
        """Wait for at least one delivery, then take all that are waiting, at most `limit`."""
        taken = await self._receiver.receive(limit)
        return [LeasedDelivery(self._lease, tag, counted(held), held.exchange) for tag, held in taken]

    async def close(self) -> None:
        """Ask for no more; what was received can still be settled."""
        self._lease.line.stop()
        self._lease.line.give_back_unread()
        self._lease.line.inbox.close()

    async def drop(self) -> None:
        """Let go of the queue: everything unsettled goes back."""
        self._lease.line.stop()
        self._lease.line.inbox.close()
        self.lose()

    def lose(self) -> None:
        """Lose the connection for good: everything unsettled goes back."""
        self._lease.alive = False
        self._lease.line.give_back_all()


class MemoryTransport:
    """A connection to a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, namespace: str = "choros", *, publish_timeout: float = 10.0) -> None:
        self.names = Names(namespace)
        """Where messages go."""
        self._broker = broker
        self._timeout = publish_timeout
        self._connected = False
        self._consumers: list[MemoryConsumer] = []
        self._looks: list[MemoryLook] = []
        self._health = HealthRecord("memory")

    async def connect(self) -> None:
        """Connect; there is nothing that could fail."""
        self._connected = True
        if self._reassess not in self._broker.watchers:
            self._broker.watchers.append(self._reassess)
        self._reassess()

    def _reassess(self) -> None:
        self._health.note(*(("blocked", "it is paused") if self._broker.paused else ("connected", "")))

    async def declare(self, topology: Topology, *, strictly: bool = False) -> None:
        """Create what is missing; raises BrokerMisconfigured."""
        self._broker.declare(topology)

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Send commands and replies; one answer for each, in order."""
        return await self._put(to_queues(self.names, messages))

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        """Publish facts in order; after one that is not taken, the rest of its stream is not sent."""
        return await one_by_one(to_everyone(self.names, facts), order_of, self._put)

    async def _put(self, posts: Sequence[Post]) -> list[Published]:
        """Publish to any exchange, under any key; one answer for each, in order."""
        answers: list[Published] = []
        if not self._connected or not await self._broker.ready(self._timeout):
            return [Published.UNKNOWN] * len(posts)
        for exchange, key, message, _ in posts:
            wire = written(message)
            answers.append(self._broker.publish(exchange, key, wire) if wire else Published.NACKED)
            if len(answers) % _TURN == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        return answers

    async def consume(self, queue: str, prefetch: int) -> MemoryConsumer:
        """Subscribe to a queue."""
        return self._consumer(queue, lambda: self._broker.subscribe(queue, prefetch))

    async def replay(self, queue: str, prefetch: int, since: float | None = None) -> MemoryConsumer:
        """Read the fact log on behalf of a subscriber's queue."""
        return self._consumer(queue, lambda: self._broker.replay(self.names.facts_log, prefetch, since))

    async def look(self, queue: str) -> MemoryLook:
        """Begin to look through a queue."""
        look = MemoryLook(self.names, queue, self._broker.queue(queue), self.post)
        self._looks.append(look)
        return look

    async def post(self, exchange: str, key: str, wire: Wire) -> Published:
        """Publish a message as it is, anywhere."""
        return (await self._put([Post(exchange, key, wire)]))[0]

    async def attendance(self, queue: str) -> Seen:
        """Who consumes a queue, and what waits there."""
        return self._broker.attendance(queue) if self._connected else Seen("untold")

    async def mark(self, text: str) -> Published:
        """Put a mark into the fact log."""
        return await self.post(self.names.marks, self.names.facts_log, Wire(b"{}", {MARK: text}))

    def _consumer(self, queue: str, line_to: Callable[[], Line]) -> MemoryConsumer:
        try:
            line = line_to()
        except BrokerMisconfigured as refused:
            line = Line(MemoryQueue(Queue(queue), lambda *_: None), prefetch=0)  # from nowhere
            line.inbox.fail(refused)
        consumer = MemoryConsumer(_MemoryLease(queue, self.names, self.post, line))
        self._consumers.append(consumer)
        return consumer

    @property
    def connected(self) -> bool:
        """Whether `connect` was called, and `close` was not."""
        return self._connected

    @property
    def health(self) -> Health:
        """Connected, or blocked while the broker is paused."""
        return self._health.now

    async def close(self) -> None:
        """Close every consumer; unsettled deliveries go back to their queues."""
        self._connected = False
        self._health.end()
        if self._reassess in self._broker.watchers:
            self._broker.watchers.remove(self._reassess)
        for consumer in self._consumers:
            await consumer.close()
            consumer.lose()
        self._consumers.clear()
        for look in self._looks:
            await look.close()
        self._looks.clear()


def written(message: Envelope | Wire) -> Wire | None:
    """As it goes out; None for one that cannot be written, which must not hold the others."""
    if isinstance(message, Wire):
        return message
    try:
        return unshared(encode(message))
    except (ValueError, OverflowError, OSError) as failure:
        log.error("choros.broker.message_unsendable", to=message.to or message.type, why=type(failure).__name__)
        return None


def counted(held: QueuedMessage) -> Wire:
    """The message, with the number of its returns as a quorum queue notes it."""
    return replace(held.wire, headers={**held.wire.headers, RETURNS: held.returns}) if held.returns else held.wire


def unshared(wire: Wire) -> Wire:
    """A message that several queues can hold without one reader changing what another sees."""
    return replace(wire, headers=MappingProxyType(dict(wire.headers)))

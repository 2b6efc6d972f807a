"""Consuming a queue of the simulated broker: a channel of its own, opened again whenever it is lost."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from choros.errors import BrokerMisconfigured
from choros.transport.arrivals import Arrivals, Pace
from choros.transport.leased import CopyTo, Lease, LeasedDelivery
from choros.transport.log_place import LogPlace
from choros.transport.recipient import Recipient
from choros.transport.topology import Names
from choros.wire.envelope import Wire
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_channel import ChannelLine, SimChannel
from choros_verify.simulation.broker_log import SimLogLine
from choros_verify.simulation.broker_queue import LineEnds


class _SimLease(Lease):
    """What the deliveries of one channel are settled through."""

    line: ChannelLine
    """There before anything is delivered."""

    def __init__(
        self, queue: str, names: Names, channel: SimChannel, copy_to: CopyTo, acknowledged: Callable[[int], None]
    ) -> None:
        super().__init__(queue, names, copy_to)
        self._channel, self._acknowledged = channel, acknowledged

    def acknowledge(self, tag: int) -> None:
        if self.alive:
            self._acknowledged(tag)
            self._channel.acknowledge(self.line, tag)

    def give_back(self, tag: int) -> None:
        if self.alive:
            self._channel.give_back(self.line, tag, counted=True)

    def give_back_unread(self, tag: int) -> None:
        if self.alive:
            self._channel.give_back(self.line, tag, counted=False)

    def close(self, *, lost: bool) -> None:
        self.alive = False
        if lost:
            self._channel.lose()
        else:
            self._channel.close()


@dataclass(frozen=True, slots=True)
class ConsumerNeeds:
    """What a consumer needs of its transport."""

    broker: SimBroker
    process: str
    names: Names
    restore: Callable[[str], None]
    """Declares one queue again."""
    copy_to: CopyTo


class SimConsumer(Recipient[LeasedDelivery]):
    """A subscription to one queue; it survives lost connections by itself."""

    def __init__(self, queue: str, prefetch: int, mine: ConsumerNeeds) -> None:
        super().__init__(Arrivals(), Pace())
        self.settled = asyncio.Event()
        """Set once it is known whether the queue can be consumed."""
        self.queue = queue
        """What it reads."""
        self.settles_for = queue
        """Whose ladder of delays and whose parking it uses."""
        self.prefetch = prefetch
        """How many it may have unsettled."""
        self._mine = mine
        self._lease: _SimLease | None = None
        self._generation = 0

    @property
    def over(self) -> bool:
        """Whether it is closed and has nothing left to settle."""
        return self.arrivals.closed and self._lease is None

    async def close(self) -> None:
        if self.arrivals.closed:
            return
        self.arrivals.close()
        if self._lease is not None:
            self._lease.line.stop()
            while self.arrivals.waiting:
                self.arrivals.waiting.popleft().give_back()

    async def drop(self) -> None:
        """Let go of the queue: the channel is closed, and all that is not settled goes back in one go."""
        self.arrivals.close()
        self._leave(lost=False)

    def die(self) -> None:
        """The process is gone."""
        self.arrivals.closed = True
        self._leave(lost=True)

    def housed(self) -> None:
        """There is a connection: consume on it."""
        if self.arrivals.closed or self.arrivals.fault is not None:
            return
        self._leave(lost=False)
        try:
            self._mine.restore(self.queue)
            self._subscribe()
        except BrokerMisconfigured as fault:
            self.arrivals.fail(fault)
        self.settled.set()

    def evicted(self, keep: bool) -> None:
        """The connection is lost; what waits will be delivered again."""
        self._leave(lost=True)

    def _subscribe(self) -> None:
        generation = self._generation
        channel = SimChannel(self._mine.broker.setting, self._mine.process, lambda: self._again(generation))
        lease = _SimLease(self.settles_for, self._mine.names, channel, self._mine.copy_to, self._acknowledged)

        def deliver(tag: int, wire: Wire, exchange: str) -> None:
            self._handed(tag, wire)
            delivery = LeasedDelivery(lease, tag, wire, exchange)
            if self.arrivals.closed:
                delivery.give_back()
            else:
                self.arrivals.came(delivery)

        receiver = LineEnds(deliver, lambda: self._again(generation))
        lease.line = self._line(channel, receiver)
        self._lease = lease

    def _line(self, channel: SimChannel, receiver: LineEnds) -> ChannelLine:
        return channel.consume(self._mine.broker.queue(self.queue), self.prefetch, receiver)

    def _handed(self, tag: int, wire: Wire) -> None:
        """A delivery has come."""

    def _acknowledged(self, tag: int) -> None:
        """It is settled."""

    def _again(self, generation: int) -> None:
        """The broker has ended the channel or the consumer: open another one soon."""
        if generation != self._generation:
            return
        self._leave(lost=False)
        if not self.arrivals.closed:
            network, generation = self._mine.broker.network, self._generation
            network.later(network.seconds(network.latency.resubscribe), lambda: self._retry(generation))

    def _retry(self, generation: int) -> None:
        if generation == self._generation:
            self.housed()

    def _leave(self, *, lost: bool) -> None:
        self._generation += 1
        self.arrivals.waiting.clear()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close(lost=lost)


class SimReplay(SimConsumer):
    """A reader of the fact log; after a lost connection it goes on with the first that was not settled."""

    def __init__(self, queue: str, prefetch: int, mine: ConsumerNeeds, since: float | None) -> None:
        super().__init__(mine.names.facts_log, prefetch, mine)
        self.settles_for = queue
        self._since = since
        self._place = LogPlace()

    def _line(self, channel: SimChannel, receiver: LineEnds) -> ChannelLine:
        log = self._mine.broker.log(self.queue)
        place = self._place.resume()
        line = SimLogLine(log, self.prefetch, log.place(self._since) if place is None else place, receiver)
        channel.add(line)
        return line

    def _handed(self, tag: int, wire: Wire) -> None:
        self._place.handed(tag, wire)

    def _acknowledged(self, tag: int) -> None:
        self._place.settled(tag)

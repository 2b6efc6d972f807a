"""Reading the fact log: a stream over AMQP 0-9-1, from a place on, disturbing nobody."""

from datetime import UTC, datetime

from aiormq.abc import AbstractChannel, AbstractConnection

from choros.transport.fact_log import OFFSET
from choros.transport.leased import LeasedDelivery
from choros.transport.log_place import LogPlace
from choros.transport.rabbitmq.consumer import RabbitConsumer
from choros.transport.rabbitmq.lease import RabbitLease


class LogLease(RabbitLease):
    """Deliveries of the log, settled as if they had come from a subscriber's queue."""

    place: LogPlace

    def handed(self, tag: int, delivery: LeasedDelivery) -> None:
        """Note where it stands."""
        self.place.handed(tag, delivery.wire)

    def acknowledge(self, tag: int) -> None:
        """Let the broker send one more; a log forgets nothing."""
        if self.alive:  # the next channel counts its deliveries from 1 again
            self.place.settled(tag)
        super().acknowledge(tag)


class RabbitReplay(RabbitConsumer):
    """A reader of the fact log."""

    settles_for: str
    """The queue whose ladder of delays and whose parking it uses."""
    since: float | None
    """The moment that it begins with, or the first message."""
    place: LogPlace

    def _lease_on(self, channel: AbstractChannel, patience: float) -> RabbitLease:
        lease = LogLease(channel, self.settles_for, self._names, self._copy_to, patience)
        lease.place, lease.source = self.place, self.queue
        start = "first" if self.since is None else datetime.fromtimestamp(int(self.since), UTC)
        offset = self.place.resume()
        lease.arguments = {OFFSET: start if offset is None else offset}
        return lease

    async def _forgotten(self, _: AbstractConnection) -> bool:
        return False  # the broker counts no readers of a stream

"""Reading the fact log: a stream over AMQP 0-9-1, from a place on, disturbing nobody."""

from datetime import UTC, datetime

from aiormq.abc import AbstractChannel, AbstractConnection

from choros.transport.fact_log import OFFSET
from choros.transport.rabbitmq.consumer import RabbitConsumer
from choros.transport.rabbitmq.lease import RabbitLease
from choros.wire.envelope import Wire


class Place:
    """How far a reader has come, and so where it goes on after a lost connection."""

    def __init__(self, since: float | None) -> None:
        self._start = "first" if since is None else datetime.fromtimestamp(int(since), UTC)
        self._last: int | None = None
        self._out: dict[int, int] = {}

    def resume(self) -> str | int | datetime:
        """Where the next channel begins: with the first that was not settled."""
        if self._out:
            self._last = min(self._out.values()) - 1
            self._out.clear()
        return self._start if self._last is None else self._last + 1

    def handed(self, tag: int, wire: Wire) -> None:
        """This delivery is out."""
        offset = wire.headers.get(OFFSET)
        if isinstance(offset, int):
            self._out[tag] = self._last = offset

    def settled(self, tag: int) -> None:
        """This delivery is done with."""
        self._out.pop(tag, None)


class LogLease(RabbitLease):
    """Deliveries of the log, settled as if they had come from a subscriber's queue."""

    place: Place

    def handed(self, tag: int, wire: Wire) -> None:
        """Note where it stands."""
        self.place.handed(tag, wire)

    def acknowledge(self, tag: int) -> None:
        """Let the broker send one more; a log forgets nothing."""
        if self.alive:  # the next channel counts its deliveries from 1 again
            self.place.settled(tag)
        super().acknowledge(tag)


class RabbitReplay(RabbitConsumer):
    """A reader of the fact log."""

    settles_for: str
    """The queue whose ladder of delays and whose parking it uses."""
    place: Place

    def _lease_on(self, channel: AbstractChannel, patience: float) -> RabbitLease:
        lease = LogLease(channel, self.settles_for, self._names, self._copy_to, patience)
        lease.place, lease.source = self.place, self.queue
        lease.arguments = {OFFSET: self.place.resume()}
        return lease

    async def _forgotten(self, _: AbstractConnection) -> bool:
        return False  # the broker counts no readers of a stream

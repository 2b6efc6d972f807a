"""Consuming a queue: a channel of its own on whatever connection there is, opened again whenever it is lost.

aiormq's callback only puts the delivery into our inbox: it runs in a task of the client's, which is
cancelled when the connection drops.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPChannelError, ChannelAccessRefused, ChannelInvalidStateError, ConnectionInternalError

from choros.errors import BrokerMisconfigured
from choros.sources import uniform
from choros.telemetry.logs import get_logger
from choros.transport.arrivals import Arrivals, Pace
from choros.transport.leased import CopyTo, LeasedDelivery
from choros.transport.port import NotDeclared
from choros.transport.rabbitmq.declarations import Declarer
from choros.transport.rabbitmq.lease import RabbitLease
from choros.transport.rabbitmq.refusals import denied
from choros.transport.rabbitmq.tasks import end
from choros.transport.recipient import Recipient
from choros.transport.topology import Names

WATCH_SECONDS = 10.0
"""Between two looks at whether the broker still counts any consumer of the queue."""
_RESUBSCRIBE_SECONDS = (0.05, 0.5)
_MISSING_SECONDS = 2.0
_BROKERS_FAULT = (
    "The broker failed (INTERNAL_ERROR) while it was asked for this queue; if that goes on and `rabbitmqctl "
    "list_queues name state` calls it down, delete it: it is declared again, and what is owed is sent again."
)

_log = get_logger(__name__)


class RabbitConsumer(Recipient[LeasedDelivery]):
    """A subscription to one queue; it survives lost connections by itself."""

    def __init__(
        self,
        queue: str,
        prefetch: int,
        names: Names,
        declarer: Declarer,
        copy_to: CopyTo,
        *,
        watch_every: float = WATCH_SECONDS,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(Arrivals(), Pace())
        self.queue = queue
        self.settled = asyncio.Event()
        """Set once it is known whether the queue can be consumed."""
        self._prefetch = prefetch
        self._names = names
        self._declarer = declarer
        self._copy_to = copy_to
        self._watch_every = watch_every
        self._changed = changed
        self._lease: RabbitLease | None = None
        self._held = False
        self._asking = False
        """Whether the broker has yet to say that it delivers."""

    @property
    def over(self) -> bool:
        """Whether it is closed and has nothing left to settle."""
        return self.arrivals.closed and self._lease is None

    @property
    def lost(self) -> bool:
        """Whether the broker should be delivering, and is not."""
        return self.settled.is_set() and self._lease is None and not self.arrivals.closed

    async def close(self) -> None:
        if self.arrivals.closed:
            return
        self.arrivals.close()
        if self._lease is not None:
            await self._lease.stop(self.arrivals)

    async def drop(self) -> None:
        """Let go of the queue: the channel is closed, and the broker takes back all that is unsettled in one go."""
        self.arrivals.close()
        if self._lease is not None:
            await self._lease.flush()
            self._lease.end()

    async def flush(self) -> None:
        """Return when all acknowledgements are on their way."""
        if self._lease is not None:
            await self._lease.flush()

    async def serve(self, connection: AbstractConnection) -> None:
        """Consume on this connection until it is lost or the consumer is closed."""
        while not self.arrivals.closed and self.arrivals.fault is None:
            try:
                self._asking = True
                await self._declarer.restore_queue(connection, self.queue)
                await self._hold(connection)
            except BrokerMisconfigured as fault:
                await self._wait_or_fail(fault)
            except ChannelAccessRefused as failure:
                self.fail(denied(failure, "read"))
            except (AMQPChannelError, ChannelInvalidStateError) as failure:
                _log.warning("choros.broker.consumer_lost", queue=self.queue, why=str(failure))
            except (ConnectionInternalError, asyncio.CancelledError):  # the link may end us before we are told
                self._blame(connection)
                raise
            if not self.arrivals.closed:
                await asyncio.sleep(uniform(*_RESUBSCRIBE_SECONDS))

    async def _wait_or_fail(self, fault: BrokerMisconfigured) -> None:
        """What was there is waited for, if somebody else has to create it again."""
        if not (self._held and isinstance(fault, NotDeclared)):
            self.fail(fault)
            return
        _log.error("choros.broker.misconfigured", queue=self.queue, why=str(fault))
        await asyncio.sleep(_MISSING_SECONDS)

    async def _hold(self, connection: AbstractConnection) -> None:
        patience = self._declarer.patience
        channel = await connection.channel(publisher_confirms=False, timeout=patience)
        lease = self._lease_on(channel, patience)
        writer = asyncio.create_task(lease.write())
        try:
            await self._limit(channel)
            await lease.start(self.arrivals)
            self._lease, self._held, self._asking = lease, True, False
            self.settled.set()
            self._changed()
            await self._watch(connection, lease, writer)
        finally:
            # What still waits will be delivered again, and what was received can no longer be settled.
            self._lease = None
            self._changed()
            lease.alive = False
            self.arrivals.waiting.clear()
            await end({writer})
            await lease.close()

    async def _watch(self, connection: AbstractConnection, lease: RabbitLease, writer: asyncio.Task[None]) -> None:
        """Once in a while ask on its channel, which costs the connection where nobody answers: one that the broker does
        not look at any more holds what was delivered. And ask whether any consumer is counted: the broker may have
        dropped us without a word."""
        ends: set[asyncio.Future[Any]] = {lease.channel.closing, lease.ended, writer}
        while True:
            done, _ = await asyncio.wait(ends, timeout=self._watch_every, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
            await self._limit(lease.channel)
            if await self._forgotten(connection):
                break
        if not self.arrivals.closed:
            _log.warning("choros.broker.consumer_lost", queue=self.queue)

    async def _limit(self, channel: AbstractChannel) -> None:
        await channel.basic_qos(prefetch_count=self._prefetch, timeout=self._declarer.patience)

    def _lease_on(self, channel: AbstractChannel, patience: float) -> RabbitLease:
        lease = RabbitLease(channel, self.queue, self._names, self._copy_to, patience)
        lease.dead_letters = self._declarer.dead_letters(self.queue)
        return lease

    async def _forgotten(self, connection: AbstractConnection) -> bool:
        return await self._declarer.consumers_of(connection, self.queue) == 0

    def _blame(self, connection: AbstractConnection) -> None:
        """Name the queue, if the broker has failed while it was asked for it."""
        closing = connection.closing
        why = closing.exception() if closing.done() and not closing.cancelled() else None
        if self._asking and isinstance(why, ConnectionInternalError):
            _log.error("choros.broker.queue_failed", queue=self.queue, why=_BROKERS_FAULT)

    def fail(self, fault: BrokerMisconfigured) -> None:
        """Let whoever receives know that this cannot go on."""
        _log.error("choros.broker.misconfigured", queue=self.queue, why=str(fault))
        self.arrivals.fail(fault)
        self.settled.set()
        self._changed()

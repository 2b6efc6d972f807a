"""A delivery that a consumer holds on a lease: the four ways to settle it, the same for every adapter."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from choros.sources import full_jitter
from choros.telemetry.logs import get_logger
from choros.transport import copies
from choros.transport.port import Published
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire

CopyTo = Callable[[str, str, Wire], Awaitable[Published]]
"""Publishes a copy, confirmed: exchange, key, message."""

_log = get_logger(__name__)


class Lease(ABC):
    """One consumer on one connection: what was delivered through it can be settled as long as it is alive."""

    def __init__(self, queue: str, names: Names, copy_to: CopyTo) -> None:
        self.queue = queue
        self.names = names
        self.copy = copy_to
        self.alive = True
        """Whether the broker still waits for this consumer to settle; settling does nothing from then on."""

    @abstractmethod
    def acknowledge(self, tag: int) -> None:
        """Tell the broker to forget the delivery."""

    @abstractmethod
    def give_back(self, tag: int) -> None:
        """Put the delivery back into its queue, which counts as one of its deliveries: what makes its consumer fail
        must not come for ever."""

    def give_back_unread(self, tag: int) -> None:
        """The same for one that nobody has looked at: it does not count, where the broker knows the difference."""
        self.give_back(tag)

    def leave_to_broker(self, _: int) -> bool:
        """Let the broker park the delivery by itself, whole; False if it would only drop it."""
        return False


class LeasedDelivery:
    """The `Delivery` of the port, over a lease."""

    __slots__ = ("_claimed", "_lease", "_tag", "_wire", "exchange")

    def __init__(self, lease: Lease, tag: int, wire: Wire, exchange: str) -> None:
        self._lease, self._tag, self._wire = lease, tag, wire
        self._claimed = False
        self.exchange = exchange
        """The exchange it was published to."""

    @property
    def wire(self) -> Wire:
        """The message as it came, unread."""
        return self._wire

    def read(self) -> Envelope:
        return self.wire.read()

    @property
    def retries(self) -> int:
        """How often this message has been through `retry` for this queue."""
        return copies.count_of(self.wire.headers, copies.RETRIES)

    @property
    def waits(self) -> int:
        """How often it has been through `retry` untried."""
        return copies.count_of(self.wire.headers, copies.WAITS)

    @property
    def returns(self) -> int:
        """How often it was given back to its queue before."""
        return copies.count_of(self.wire.headers, copies.RETURNS)

    @property
    def fresh(self) -> bool:
        """Whether nobody had it before."""
        return not (self.retries or self.waits or self.returns)

    @property
    def lost(self) -> bool:
        """Whether the connection that it came through is gone."""
        return not self._lease.alive

    async def ack(self) -> None:
        if self._claim():
            self._lease.acknowledge(self._tag)

    async def retry(self, after: float, *, tried: bool = True) -> None:
        """Deliver it to this queue again after about so many seconds; `tried` says which of its two numbers rises.

        A queue without a ladder gets it back from here, uncounted, when the time has passed.
        """
        if not self._claim():
            return
        lease = self._lease
        ladder = lease.names.retry_exchange(lease.queue)
        step = lease.names.retry_queue(lease.queue, copies.rung(after))
        copy = copies.retry_copy(self.wire, tried=tried)
        if not ladder or await self._put(ladder, step, copy, Published.RETURNED) is Published.RETURNED:
            asyncio.get_running_loop().call_later(after, lease.give_back, self._tag)

    def pass_on(self, after: float) -> None:
        """Give it back to its queue in so many seconds, for another consumer of it; the broker counts that."""
        if self._claim():
            asyncio.get_running_loop().call_later(after, self._lease.give_back, self._tag)

    async def dead_letter(self, reason: str) -> None:
        """Park it for a person, with the reason; returns once the broker has confirmed the parked copy.

        What is too large for a copy the broker parks by itself, whole and without the reason; where it cannot, the
        copy has the beginning of it."""
        if not self._claim():
            return
        wire, queue = self.wire, self._lease.queue
        if len(wire.body) > copies.LARGEST_BODY:
            if self._lease.leave_to_broker(self._tag):
                _log.warning("choros.broker.parked_without_reason", queue=queue, size=len(wire.body), reason=reason)
                return
            wire = copies.shortened(wire)
        parking = self._lease.names.parking_exchange(queue)
        await self._put(parking, queue, copies.dead_copy(wire, reason, queue, self.exchange), Published.CONFIRMED)

    def give_back(self) -> None:
        """Never mind: put it back into its queue at once, unread."""
        if self._claim():
            self._lease.give_back_unread(self._tag)

    def _claim(self) -> bool:
        """The first to settle wins: a second acknowledgement would cost the whole channel."""
        claimed, self._claimed = self._claimed, True
        return not claimed

    async def _put(self, exchange: str, key: str, copy: Wire, enough: Published) -> Published | None:
        """Publish until it is confirmed (or `enough`), and acknowledge only after that."""
        try:
            published = await self._published(exchange, key, copy, enough)
        except BaseException:
            self._claimed = False
            raise
        if published is Published.CONFIRMED:
            self._lease.acknowledge(self._tag)
        return published

    async def _published(self, exchange: str, key: str, copy: Wire, enough: Published) -> Published | None:
        delays = full_jitter()
        while self._lease.alive:  # once it is gone the broker delivers again
            published = await self._lease.copy(exchange, key, copy)
            if published in (Published.CONFIRMED, enough):
                return published
            _log.warning("choros.broker.copy_not_taken", exchange=exchange, key=key, published=published.value)
            await asyncio.sleep(next(delays))
        return None

"""The transport port: what choros asks of a broker. Its conformance suite: `choros.testing.conformance.transport`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from choros.errors import BrokerMisconfigured
from choros.transport.topology import Topology
from choros.wire.envelope import Envelope, Wire

State = Literal["connected", "blocked", "away"]
"""connected: at work; blocked: there, but it takes nothing that we publish (memory or disk alarm); away: no answer."""


@dataclass(frozen=True, slots=True)
class Health:
    """How something outside this process is, as far as this process knows."""

    state: State
    since: float
    """Seconds since the epoch, by this machine's clock."""
    detail: str = ""
    """Why, in a few words; never an address or a message."""
    unconfirmed: tuple[str, ...] = ()
    """Destinations (exchange, colon, routing key) that do not confirm what is published to them: a queue behind them
    does not answer. Other destinations are not touched by it."""


class Published(Enum):
    """What became of one publish; only CONFIRMED means that the broker has it for good."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    """No queue took it (`mandatory`)."""
    NACKED = "nacked"
    """The broker refused it, or one of several queues did."""
    UNKNOWN = "unknown"
    """No answer: it may or may not be there. Publish it again under the same id."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A queue, as its broker tells of it."""

    state: Literal["there", "missing", "silent", "untold"]
    """silent: its leader does not answer; untold: there is no connection, or this user may not ask."""
    consumers: int = 0
    waiting: int = 0
    """Messages that no consumer has."""


class NotDeclared(BrokerMisconfigured):
    """Something is missing that only somebody else may create."""


class Delivery(Protocol):
    """One message handed over by the broker; settled exactly once, by one of its four verbs.

    A delivery that is never settled, or whose connection is lost before, comes again. Settling never raises
    for a lost connection: the broker will deliver again, and the receiver's inbox absorbs it.
    """

    @property
    def wire(self) -> Wire:
        """The message as it came, unread."""

    def read(self) -> Envelope:
        """The envelope that `decode` reads of it; raises MessageRejected."""

    @property
    def exchange(self) -> str:
        """The exchange it was published to; empty for the default exchange."""

    @property
    def retries(self) -> int:
        """How often this message has been through `retry` for this queue, tried."""

    @property
    def waits(self) -> int:
        """The same, untried: nobody who received it could handle it."""

    @property
    def returns(self) -> int:
        """How often it was given back to its queue before, or its consumer was lost; at `topology.DELIVERY_LIMIT` the
        broker parks it by itself."""

    @property
    def fresh(self) -> bool:
        """Whether nobody had it before: neither was it given back, nor has it been through `retry`. Asked of all that
        comes, so it costs little."""

    @property
    def lost(self) -> bool:
        """Whether the connection that it came through is gone: settling it does nothing, it comes again."""

    async def ack(self) -> None:
        """Done with: the broker forgets it."""

    async def retry(self, after: float, *, tried: bool = True) -> None:
        """Deliver it to this queue again after about so many seconds (the broker's ladder of delays)."""

    def pass_on(self, after: float) -> None:
        """Give it back to its queue in so many seconds, for another consumer of it."""

    async def dead_letter(self, reason: str) -> None:
        """Park it for a person, with the reason; returns once the broker has confirmed the parked copy."""


class Consumer(Protocol):
    """A subscription to one queue; it survives lost connections by itself."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one delivery, then take all that are waiting, at most `limit`.

        Returns an empty sequence once the consumer is closed. Raises BrokerMisconfigured if the queue can
        never be consumed.
        """

    async def close(self) -> None:
        """Ask the broker for no more; what was received can still be settled."""

    async def drop(self) -> None:
        """Let go of the queue at once: all that is not settled goes back to it together, before anything behind it
        is delivered to another consumer."""


class Carrier(Protocol):
    """What carries messages between a service and whoever commands it."""

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Send commands and replies, all confirms in flight together; one answer for each, in order.

        Never raises for I/O, nor for a message that cannot be written: that one is NACKED, and the others are sent.
        Never waits longer than the transport's publish timeout.
        """

    async def consume(self, queue: str, prefetch: int) -> Consumer:
        """Subscribe to a queue; at most `prefetch` unsettled deliveries are with this consumer."""

    @property
    def health(self) -> Health:
        """Whether it is connected, blocked or away, since when and why; every change is logged by the transport."""


class Transport(Carrier, Protocol):
    """A connection to a broker, kept up by itself until closed."""

    async def connect(self) -> None:
        """Connect for the first time; raises BrokerUnreachable or BrokerMisconfigured."""

    async def declare(self, topology: Topology, *, strictly: bool = False) -> None:
        """Create what is missing and remember it for every reconnection; raises BrokerMisconfigured.

        Where this user may not create anything it is enough that all is there, unless `strictly`."""

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        """Publish facts to the fan-out exchange, each stream in order, apart from commands.

        RETURNED means: no queue is bound. After a fact that is not taken, the rest of its stream is not sent
        (UNKNOWN).
        """

    async def replay(self, queue: str, prefetch: int, since: float | None = None) -> Consumer:
        """Read the fact log from its first entry, or from a moment on (some earlier ones may come too), disturbing
        nobody; it goes on with what comes after.

        A delivery is settled as if it had come from `queue`, which has a ladder of delays: `ack` only asks for more,
        `retry` puts a copy into the ladder, `dead_letter` parks one. After a lost connection it goes on with the
        first that was not settled. The consumer raises BrokerMisconfigured if there is no log.
        """

    async def attendance(self, queue: str) -> Seen:
        """Who consumes a queue, and what waits there, without changing anything; never raises for I/O."""

    async def mark(self, text: str) -> Published:
        """Put a mark into the fact log. It is delivered by `replay` with the text in its header `fact_log.MARK`,
        behind everything that was in the log before; RETURNED means: there is no log."""

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable right now."""

    async def close(self) -> None:
        """Close every consumer and connection; unsettled deliveries go back to their queues."""

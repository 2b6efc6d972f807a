"""What an operator asks of a broker beyond what the roles ask: to look into a queue, and to put a message back.

Conformance suite: `choros.testing.conformance.inspection`."""

from typing import Protocol

from choros.transport.port import Delivery, Published, Transport
from choros.wire.envelope import Wire


class Look(Protocol):
    """A walk through what waits in a queue, from its front, which takes nothing out.

    What it has shown, and a little beyond, nobody else is shown until it is closed, or its connection is lost; then all
    that was not acknowledged is back. After a walk to the end in its old order; else it may be behind the rest."""

    async def take(self) -> Delivery | None:
        """The next; None behind what waited there when the walk began. It holds nothing of what it has shown: who
        looks through very many keeps what is needed of each, and lets go of the delivery.

        Raises BrokerMisconfigured where there is no such queue, or this user may not read it, and BrokerUnreachable."""

    async def close(self) -> None:
        """Give back what was not acknowledged, uncounted where the broker knows the difference; returns when the
        broker has heard of all that was."""


class LookingTransport(Transport, Protocol):
    """A transport for operators."""

    async def look(self, queue: str) -> Look:
        """Begin to look through a queue. Raises BrokerUnreachable."""

    async def post(self, exchange: str, key: str, wire: Wire) -> Published:
        """Publish a message as it is, anywhere. Never raises for I/O; NACKED where it cannot be written."""

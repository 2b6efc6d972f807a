"""What is under way in this process, by what it asks for: a copy of it takes no place of its own.

A saga sends a command again when it has waited for long. Were each copy kept until the first is answered, a handler
that hangs would use up all that may be unsettled with this service, and so stop it. Of two copies the broker needs to
keep one: were this process to end, that one comes again.
"""

from typing import Any, Protocol

from choros.transport.port import Delivery
from choros.wire.envelope import Envelope


class Held(Protocol):
    """A message, and the delivery that is settled once it is done with."""

    envelope: Envelope
    delivery: Any
    """A `Delivery`."""


class UnderWay:
    """Messages from when they are taken in until their delivery is settled."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Held] = {}

    def join(self, held: Held) -> Delivery | None:
        """None for the first of its kind. For a copy: the delivery of the two that is to be acknowledged now; the
        other one goes with what is under way."""
        first = self._first.setdefault(_asks(held.envelope), held)
        if first is held:
            return None
        spare: Delivery = held.delivery
        if first.delivery.lost or held.envelope.attempt > first.envelope.attempt:
            # The newer one: should it come again, its deadline and its attempt are those that the saga waits for.
            spare, first.delivery, first.envelope = first.delivery, held.delivery, held.envelope
        return spare

    def leave(self, held: Held) -> Delivery:
        """It is done with: the delivery to settle. What comes now is a message of its own."""
        asks = _asks(held.envelope)
        if self._first.get(asks) is held:
            del self._first[asks]
        delivery: Delivery = held.delivery
        return delivery


def _asks(envelope: Envelope) -> tuple[str, ...]:
    """Equal where the same is to be done, and the same answer, to the same queue, is due."""
    asked = (envelope.key, envelope.type, envelope.data, envelope.reply_to, envelope.correlation_id)
    return (*asked, envelope.source, envelope.stream, str(envelope.seq))

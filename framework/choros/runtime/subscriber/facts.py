"""The facts in a subscriber's queue: which concern it, and what becomes of each, by the ladder of delays too."""

from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from choros.app.flow_part import NO_FLOWS, FlowPart
from choros.app.handler import Handler
from choros.app.service import Service
from choros.errors import ChorosError, MessageRejected
from choros.messages import Message
from choros.runtime.host.call import plainly
from choros.runtime.host.intake import Intake
from choros.runtime.host.off_the_wire import is_fanned_out, read_envelope
from choros.runtime.host.outbox_rows import Departure
from choros.runtime.subscriber.heard_types import PASS_ON, HeardTypes, put_off
from choros.runtime.subscriber.inbox import inbox_key, stream_key
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger, words
from choros.transport.copies import GIVE_UP, REDRIVEN, count_of
from choros.transport.port import Delivery
from choros.transport.topology import RETRY_LADDER, Names
from choros.wire.envelope import Envelope

log = get_logger(__name__)

OVERTAKEN = "a later fact of its stream was handled before it came"
TOO_OLD = "it is no younger than what this service has forgotten, so it may have been handled"
GIVEN_TWICE = "its identity was given twice: another fact of this source, stream and number was handled before"
OTHER_FLOW = "of another flow"
NOTHING_JOINS = "It has no correlation id, so nothing says which other facts it belongs to."
NEVER_GIVES_UP = "it is to give up, and its service does not say what is told then (gives_up=)"
SECOND_CAUSE = "second cause: another fact of its flow was handled before, which has the same effect"
UNHANDLED: dict[str, str] = {
    "overtaken": OVERTAKEN, "too old": TOO_OLD, "given twice": GIVEN_TWICE, "second cause": SECOND_CAUSE,
}  # fmt: skip
"""Fates that leave a fact to a person, and why."""
Fate = Literal[
    "handled", "repeated", "overtaken", "too old", "given twice", "second cause", "joined", "too late", "given up",
    "withdrawn", "new",
]  # fmt: skip


class HandledElsewhere(ChorosError):
    """A fact of a type that only another release of this service handles."""


NOBODY_ELSE = HandledElsewhere("Another release of this service handles this type of fact, and has not taken this one.")


@dataclass(slots=True, eq=False)
class Heard:
    """A fact that concerns this subscriber."""

    delivery: Delivery
    envelope: Envelope
    fact: Message | None
    handler: Handler | None
    """None where only another replica handles this type."""
    lane: str
    """What it must not be worked on together with."""
    tried: int = 0
    """How often its handler has failed since it was delivered."""
    before: list[Message] = field(default_factory=list)
    """Of several that its reaction waits for: those that came before it."""
    stands: bool = True
    """Of what takes something back: whether that was done."""
    ordered: bool = False
    """Whether a person has put it back for its reaction to give up."""
    written: list[Departure] = field(default_factory=list)
    """What its handler has let leave, in the transaction that was last run."""


class Fates:
    """Settles facts, in tasks of their own, and counts."""

    def __init__(self, intake: Intake, attempts: int) -> None:
        self.counts: Counter[str] = Counter()
        self._intake, self._attempts = intake, attempts

    def settle(self, fate: str, settling: Coroutine[Any, Any, None]) -> None:
        """This has become of one."""
        self.counts[fate] += 1
        self._intake.spawn(settling)

    def settle_all(self, fate: str, deliveries: Sequence[Delivery]) -> None:
        """This has become of these, which the broker may forget."""
        self.counts[fate] += len(deliveries)
        self._intake.spawn(_ack_all(deliveries))

    def park(self, delivery: Delivery, reason: str, fate: str = "parked", **said: Any) -> None:
        """Leave one to a person."""
        log.warning("choros.fact.parked", reason=reason, **said)
        self.settle(fate, delivery.dead_letter(reason))

    def is_last(self, heard: Heard) -> bool:
        """Whether it has failed for the last time, where it fails now."""
        return heard.delivery.retries + heard.tried + 1 >= self._attempts

    def failed(self, heard: Heard, error: Exception) -> None:
        """Its handler has failed: the ladder has it, until that has been often enough."""
        if heard.handler is None:
            self._put_off(heard)
        elif after := self.next_try(heard, error, RETRY_LADDER, "choros.fact.failed"):
            self.settle("retried", heard.delivery.retry(after))

    def next_try(self, heard: Heard, error: Exception, delays: Sequence[float], event: str) -> float | None:
        """In how many seconds it is tried again; None where that has been often enough, and it is parked."""
        heard.tried += 1
        tried = heard.delivery.retries + heard.tried
        if tried >= self._attempts:
            self.give_up(heard, error)
            return None
        after = delays[min(tried, len(delays)) - 1]
        said = {"error": plainly(error), **about(heard.envelope)}
        log.warning(event, type=heard.envelope.type, retries=tried, retry_in=after, **said)
        return after

    def give_up(self, heard: Heard, error: Exception, more: str = "") -> None:
        """Park it, with what went wrong the last time."""
        plain = plainly(error)
        log.error("choros.fact.parked", type=heard.envelope.type, error=plain, **about(heard.envelope))
        said = ": ".join([type(plain).__name__, *words(plain).values()])
        reason = f"handler failed {heard.delivery.retries + heard.tried} times: {said}{more}"
        self.settle("parked", heard.delivery.dead_letter(NOBODY_ELSE.sentence if heard.handler is None else reason))

    def _put_off(self, heard: Heard) -> None:
        returns, after = heard.delivery.returns, put_off(heard.delivery.waits)
        if after is None:
            self.settle("parked", heard.delivery.dead_letter(NOBODY_ELSE.sentence))
        elif returns < len(PASS_ON):
            self.counts["put off"] += 1
            heard.delivery.pass_on(PASS_ON[returns])
        else:
            self.settle("put off", heard.delivery.retry(after, tried=False))


async def _ack_all(deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        await delivery.ack()


def is_wanted(service: Service, fact: Envelope) -> bool:
    """Whether the reaction to this fact wants it; one that cannot be read is parked by it."""
    handler = service.reactions.get(fact.type)
    try:
        return not (handler and handler.where) or handler.where.fits(handler.message.from_json(fact.data), fact)
    except MessageRejected:
        return True


class Admission:
    """Reads deliveries; parks, or passes over, what is nothing for this subscriber."""

    def __init__(
        self, service: Service, name: str, names: Names, types: HeardTypes, fates: Fates, flows: FlowPart = NO_FLOWS
    ) -> None:
        """`name`: by what its inbox knows it."""
        self._name, self._flows = name, flows
        self._service, self._names, self._types, self._fates = service, names, types, fates
        self._lane = stream_key if service.subscription.ordered else inbox_key
        self._unknown_type = f"The service {service.name} has no handler for this type of fact."

    async def concerning(self, deliveries: Sequence[Delivery]) -> list[Heard]:
        """Those that some replica of this service handles; the others are passed over."""
        read = [heard for delivery in deliveries if (heard := self._read(delivery))]
        elsewhere = await self._types.elsewhere(heard.envelope.type for heard in read if heard.handler is None)
        concerning: list[Heard] = []
        for heard in read:
            ours = heard.handler is not None
            if ours or heard.envelope.type in elsewhere:
                concerning.append(heard)
            elif count_of(heard.delivery.wire.headers, REDRIVEN):  # it was put back for this subscriber, not fanned out
                self._fates.park(heard.delivery, self._unknown_type)
            else:
                self._fates.settle("passed", heard.delivery.ack())
            if not ours:
                self._types.tell(heard.envelope.type, heard.envelope.type in elsewhere)
        return concerning

    def _read(self, delivery: Delivery) -> Heard | None:
        """What is not for us came by the fan-out; all else is parked."""
        try:
            envelope = read_envelope(delivery)
            if envelope.kind != "fact":
                raise MessageRejected(f"A {envelope.kind} came to a subscriber's queue.")
            fanned_out = is_fanned_out(delivery.exchange, envelope.source, self._names)
            handler, lane = self._service.reactions.get(envelope.type), self._lane(self._name, envelope)
            if handler is not None:
                if not self._flows.wants(envelope):
                    self._fates.settle(OTHER_FLOW, delivery.ack())
                    return None
                fact = handler.message.from_json(envelope.data)
                if handler.join and not (envelope.flow_id or envelope.correlation_id):
                    raise MessageRejected(NOTHING_JOINS)
                if handler.where is None or handler.where.fits(fact, envelope):
                    back = delivery.exchange == self._names.retry  # of all that publishers send, nothing comes by it
                    ordered = back and count_of(delivery.wire.headers, GIVE_UP) > 0
                    return Heard(delivery, envelope, fact, handler, lane, ordered=ordered)
                self._fates.settle("filtered", delivery.ack())
                return None
            if fanned_out:
                return Heard(delivery, envelope, None, None, lane)
            raise MessageRejected(self._unknown_type)
        except MessageRejected as rejected:
            self._fates.park(delivery, rejected.sentence)
            return None

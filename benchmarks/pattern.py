"""An order saga that goes well, as the orchestrator decides it: its messages, and what is stored of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from benchmarks.shop import order, shop
from choros.messages import Reply
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Start, Unjudged, Work
from choros.sources import fresh_id, saga_id_for
from choros.store.sagas import Loaded, Transition, Unsent
from choros.transport.topology import Names
from choros.wire.envelope import Envelope
from reference_services.contracts import InventoryReserved, OrderShipped, PaymentCharged

NAMESPACE = "growth"
MARK, KEY = "00000000-0000-8000-8000-00000000beef", "KKKKKKKKKKKKK"
REPLIES = (
    PaymentCharged(charge_id=f"charge-{KEY}"),
    InventoryReserved(reservation_id=f"reservation-{KEY}"),
    OrderShipped(carrier="parcelforce", tracking=f"tracking-{KEY}"),
)
APP = shop(NAMESPACE, lambda _: None)


@dataclass(frozen=True)
class Decided:
    """One decision: what was asked, on what, and what came of it."""

    works: Sequence[Work]
    loaded: Loaded | None
    transition: Transition


class Pattern:
    """Stamped out as often as wanted."""

    @cached_property
    def decisions(self) -> Sequence[Decided]:
        """All four of them."""
        make = Transitions(APP, lambda: Names(NAMESPACE).reply_queue("order")).make
        body = order(KEY).to_json()
        works = [Work(MARK, Start(fresh_id(), "order", 1, KEY, body, sha256(body.encode()).hexdigest()))]
        made: list[Decided] = []
        for reply in (*REPLIES, None):
            loaded = _loaded(made[-1].transition) if made else None
            transition = make(works, loaded, 0.0).transition
            assert transition is not None
            made.append(Decided(works, loaded, transition))
            works = [Work(MARK, Unjudged(_reply_to(self._message(transition), reply)))] if reply else []
        return made

    @property
    def transitions(self) -> Sequence[Transition]:
        """What is stored."""
        return [one.transition for one in self.decisions]

    @property
    def commands(self) -> Sequence[Envelope]:
        """What the participants get."""
        return [self._message(one) for one in self.transitions[:-1]]

    @property
    def fact(self) -> Envelope:
        """What the subscriber gets."""
        return self._message(self.transitions[-1])

    @property
    def replies(self) -> Sequence[Envelope]:
        """What the orchestrator gets."""
        given = [work.given for one in self.decisions for work in one.works]
        return [one.envelope for one in given if isinstance(one, Unjudged)]

    def stamped(self, number: int, at: float) -> Sequence[Transition]:
        """What is stored of one saga, which takes no time."""
        return [_stamped(one, number, at) for one in self.transitions]

    def first(self, number: int, at: float) -> Transition:
        """Of one saga, how it began."""
        return _stamped(self.decisions[0].transition, number, at)

    def last(self, number: int, at: float) -> Transition:
        """Of one saga, how it ended."""
        return _stamped(self.decisions[-1].transition, number, at)

    def _message(self, transition: Transition) -> Envelope:
        return Envelope.loads(transition.outbox[0].envelope)


def stamp(text: str, saga_id: str, key: str) -> str:
    """A text of the pattern, for another saga."""
    return text.replace(MARK, saga_id).replace(KEY, key)


def _loaded(transition: Transition) -> Loaded:
    return Loaded(transition.record, frozenset(entry.id for entry in transition.outbox))


def _reply_to(command: Envelope, reply: Reply) -> Envelope:
    return Envelope(
        id=fresh_id(), kind="reply", type=reply.type_name, source=f"/{NAMESPACE}/{command.to}", time=0.0,
        data=reply.to_json(), to=command.reply_to, correlation_id=command.correlation_id, causation_id=command.id,
        key=command.key, saga=command.saga, saga_version=command.saga_version, step=command.step,
        attempt=command.attempt, outcome="ok",
    )  # fmt: skip


def _stamped(made: Transition, number: int, at: float) -> Transition:
    saga_id, key = saga_id_for(NAMESPACE, str(number)), f"order-{number:07}"
    record = made.record
    wake_at = None if record.wake_at is None else at + record.wake_at
    outbox = [Unsent(one.id, one.channel, stamp(one.envelope, saga_id, key), saga_id) for one in made.outbox]
    state = stamp(record.state, saga_id, key)
    return replace(
        made,
        record=replace(record, saga_id=saga_id, key=key, state=state, started_at=at, updated_at=at, wake_at=wake_at),
        outbox=tuple(outbox),
        history=stamp(made.history, saga_id, key),
    )

"""The life of a lane: batches begun, written, answered, lost, late and given up, in any order.

What must hold: of one order nothing flies before what is before it has an answer, and of one batch nothing behind what
failed; no destination has more in flight than its window; each ticket gets one answer, once; and nothing is kept of
what is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from choros.testing.conformance.stage import fact
from choros.transport.doubt import SETTLED_WELL
from choros.transport.port import Published
from choros.transport.sending import Batch, Destination, Post, Sending, Ticket

T = TypeVar("T")
PATIENCE = 10.0
answers = st.sampled_from([*Published, Published.CONFIRMED, Published.CONFIRMED])
places = st.sampled_from(["a", "b"])
posts = st.lists(st.tuples(places, st.sampled_from(["", "s", "t"])), min_size=1, max_size=5)


@dataclass
class Begun:
    """A batch that somebody waits for, or did."""

    batch: Batch[Ticket]
    ended: list[None] = field(default_factory=list)
    answers: list[Published | None] = field(default_factory=list)
    """As they were when it was last looked."""
    abandoned: bool = False


class SendingMachine(RuleBasedStateMachine):
    """`kind` is what is tested, or a mutant of it."""

    def __init__(self, kind: type[Sending[Ticket]] = Sending) -> None:
        super().__init__()
        self.now = 0.0
        self.ready: set[Destination[Ticket]] = set()
        self.sending = kind(self._called, Ticket, detour=lambda exchange: f"{exchange}.detour")
        self.batches: list[Begun] = []
        self.flown: set[Ticket] = set()
        self.failed: set[Ticket] = set()
        """Tickets of an order that were answered, and not well."""

    def _called(self, there: Destination[Ticket]) -> None:
        self.ready.add(there)

    @rule(what=posts)
    def begin(self, what: list[tuple[str, str]]) -> None:
        posts = [Post("facts", key, fact(), ("app", s) if s else None) for key, s in what]
        begun = Begun(self.sending.begin(posts, PATIENCE))
        if begun.batch.over:
            begun.ended.append(None)
        begun.batch.then = lambda: begun.ended.append(None)
        self.batches.append(begun)

    @rule(data=st.data(), most=st.integers(1, 250))
    def write(self, data: st.DataObject, most: int) -> None:
        """Whoever has the wire is there, and writes what may fly at one destination."""
        if (
            there := self._one(data, [there for there in self.sending.destinations.values() if there.waiting])
        ) is not None:
            self._write(there, most)

    def _write(self, there: Destination[Ticket], most: int) -> None:
        for _ in range(most):
            in_flight = len(there.flying)
            ticket = self.sending.next(there, self.now)
            if ticket is None:
                break
            assert in_flight < there.doubt.window
            assert not there.doubt.refuses
            self._flies(ticket)

    def _flies(self, ticket: Ticket) -> None:
        assert ticket not in self.flown, "sent twice"
        assert not ticket.batch.over
        self.flown.add(ticket)
        if ticket.post.order is not None:
            for earlier in self._before(ticket):
                assert earlier.batch.answers[earlier.place] is not None, "it has overtaken another of its order"
                assert earlier.batch is not ticket.batch or earlier not in self.failed, "what is before it has failed"

    def _before(self, ticket: Ticket) -> list[Ticket]:
        in_order = [one for begun in self.batches for one in begun.batch.tickets if one.post.order == ticket.post.order]
        return in_order[: in_order.index(ticket)] if ticket in in_order else []

    @rule(data=st.data(), published=answers)
    def answer(self, data: st.DataObject, published: Published) -> None:
        there = self._one(data, [there for there in self.sending.destinations.values() if there.flying])
        ticket = self._one(data, list(there.flying) if there else [])
        if ticket is not None:
            if published not in SETTLED_WELL:
                self.failed.add(ticket)
            self.ready.clear()
            self.sending.answered(ticket, published)
            assert there is None or not there.waiting or there in self.ready

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A channel is gone."""
        if (there := self._one(data, list(self.sending.destinations.values()))) is not None:
            self.failed |= there.flying.keys()
            self.sending.lost(there)
            assert not there.flying
            self.sending.rest(there)

    @rule(seconds=st.sampled_from([0.1, 4.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), may_doubt=st.booleans())
    def expire(self, data: st.DataObject, may_doubt: bool) -> None:
        if (begun := self._one(data, [one for one in self.batches if not one.batch.over])) is not None:
            self._expire(begun, may_doubt)

    def _expire(self, begun: Begun, may_doubt: bool = True) -> None:
        self.failed |= {one for one in begun.batch.tickets if begun.batch.answers[one.place] is None}
        self.sending.expire(begun.batch, self.now, may_doubt=may_doubt)
        assert None not in begun.batch.answers

    @rule(place=places)
    def fall_silent(self, place: str) -> None:
        """One is sent, and not answered; then the channel is replaced."""
        there = self.sending.destination("facts", place)
        self.begin([(place, "")])
        self._write(there, 250)
        self.now += PATIENCE
        self._expire(self.batches[-1])
        self.failed |= there.flying.keys()
        self.sending.lost(there)

    @rule(data=st.data())
    def look_at_probe(self, data: st.DataObject) -> None:
        there = self._one(data, [there for there in self.sending.destinations.values() if len(there.flying) == 1])
        if there is not None and there.doubt.held:
            self.failed |= {*there.flying, *there.waiting}
            self.sending.overdue(next(iter(there.flying)))
            assert there.doubt.refuses and not there.waiting

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Whoever waited waits no more."""
        if (begun := self._one(data, [one for one in self.batches if not one.batch.over])) is not None:
            begun.abandoned = begun.batch.over = True

    def _one(self, data: st.DataObject, some: list[T]) -> T | None:
        return some[data.draw(st.integers(0, len(some) - 1))] if some else None

    @invariant()
    def what_was_answered_stays(self) -> None:
        for begun in self.batches:
            new = begun.batch.answers
            assert all(old in (None, now) for old, now in zip(begun.answers, new, strict=bool(begun.answers)))
            begun.answers = list(new)
            if not begun.abandoned:
                assert len(begun.ended) == begun.batch.over == (None not in new)

    @invariant()
    def nobody_waits_where_nothing_is_answered(self) -> None:
        assert not any(there.waiting for there in self.sending.destinations.values() if there.doubt.refuses)

    def teardown(self) -> None:
        """In the end all who still wait are answered, and nothing is left of them."""
        for begun in self.batches:
            if not begun.batch.over:
                self._expire(begun)
        for there in list(self.sending.destinations.values()):
            self.sending.lost(there)
        self.sending.close()
        self.what_was_answered_stays()
        assert all(there.idle for there in self.sending.destinations.values())
        assert not self.sending._tails, "somebody still stands in line"

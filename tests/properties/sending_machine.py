"""The life of a lane: batches begun, written, answered, lost, late and given up, in any order.

What must hold: of one order nothing flies before what is before it has an answer, and of one batch nothing behind what
failed; no destination has more in flight than its window; one that does not answer is asked by one at a time, and by
none once that one is late; what it refuses goes by the detour, once; each ticket gets one answer, and an unknown one
has a reason; and nothing is kept of what is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from choros.testing.conformance.stage import fact
from choros.transport.doubt import SETTLED_WELL
from choros.transport.port import Published
from choros.transport.sending import Destination, Post, Sending, Sheaf, Ticket

T = TypeVar("T")
There = Destination[Ticket]
PATIENCE = 10.0
EXCHANGE, DETOUR = "facts", "facts.detour"
answers = st.sampled_from([*Published, Published.CONFIRMED, Published.CONFIRMED])
places = st.sampled_from(["a", "b"])
posts = st.lists(st.tuples(places, st.sampled_from(["", "s", "t"]), st.integers(1, 4)), min_size=1, max_size=5)


@dataclass
class Begun:
    """A batch that somebody waits for, or did."""

    batch: Sheaf[Ticket]
    ended: list[None] = field(default_factory=list)
    answers: list[Published | None] = field(default_factory=list)
    """As they were when it was last looked."""
    expired: bool = False
    given_up: bool = False
    """Whether its time is up, or whoever waited has gone."""


class SendingMachine(RuleBasedStateMachine):
    """`kind` is what is tested, or a mutant of it."""

    def __init__(self, kind: type[Sending[Ticket]] = Sending) -> None:
        super().__init__()
        self.now = 0.0
        self.ready: set[There] = set()
        self.past: dict[str, list[str]] = {"a": [], "b": []}
        """What went by the detour, since the destination is in doubt."""
        self.detouring: set[Ticket] = set()
        self.sending = kind(self._called, Ticket, self._doubted, detour=lambda exchange: f"{exchange}.detour")
        self.batches: list[Begun] = []
        self.flown: list[Ticket] = []
        self.failed: set[Ticket] = set()
        """Tickets of an order that were answered, and not well."""
        self.doubted: set[str] = set()
        """Destinations that have been in doubt."""

    def _called(self, there: There) -> None:
        self.ready.add(there)
        exchange, key = there.place
        if exchange == DETOUR and there.waiting and there.waiting[-1] not in self.detouring:
            self.detouring.add(there.waiting[-1])
            sent = there.waiting[-1].post.message
            assert self._at(key).doubt.held, "it goes by the detour without need"
            assert getattr(sent, "id", "") not in self.past[key], "it goes by the detour twice"
            self.past[key].append(getattr(sent, "id", ""))

    def _doubted(self, name: str, held: bool) -> None:
        exchange, key = name.split(":")
        assert exchange == EXCHANGE
        self.past[key].clear()
        self.doubted.add(key)

    def _at(self, key: str) -> There:
        return self.sending.destination(EXCHANGE, key)

    # --- what may happen ---

    @rule(what=posts)
    def begin(self, what: list[tuple[str, str, int]]) -> None:
        self._begin(what)

    def _begin(self, what: list[tuple[str, str, int]]) -> Begun:
        refusing = {key for key in "ab" if self._at(key).doubt.refuses}
        sent = [
            Post(EXCHANGE, key, replace(fact(), id=f"{key}{id}"), ("app", stream) if stream else None)
            for key, stream, id in what
        ]
        self.ready.clear()
        begun = Begun(self.sending.begin(sent, PATIENCE))
        if begun.batch.over:
            begun.ended.append(None)
        begun.batch.then = lambda: begun.ended.append(None)
        self.batches.append(begun)
        self.failed |= {one for one in begun.batch.tickets if begun.batch.answers[one.place] is Published.UNKNOWN}
        for ticket in begun.batch.tickets:
            if ticket.there is not None:
                assert ticket.there in self.ready, "nobody was told"
                assert (ticket.post.key in refusing) <= ticket.settled, "it should have been refused"
                self._went_past([ticket] if ticket.post.key in refusing else [])
        return begun

    @rule(data=st.data(), most=st.integers(1, 250))
    def write(self, data: st.DataObject, most: int) -> None:
        """Whoever has the wire is there, and writes what may fly at one destination."""
        there = self._one(data, [there for there in self.sending.destinations.values() if there.waiting])
        if there is not None:
            self._write(there, most)

    def _write(self, there: There, most: int) -> None:
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
        self.flown.append(ticket)
        for earlier in self._before(ticket):
            assert earlier.batch.answers[earlier.place] is not None, "it has overtaken another of its order"
            assert earlier.batch is not ticket.batch or earlier not in self.failed, "what is before it has failed"

    def _before(self, ticket: Ticket) -> list[Ticket]:
        if ticket.post.order is None:
            return []
        in_order = [one for begun in self.batches for one in begun.batch.tickets if one.post.order == ticket.post.order]
        return in_order[: in_order.index(ticket)] if ticket in in_order else in_order

    @rule(data=st.data(), published=answers)
    def answer(self, data: st.DataObject, published: Published) -> None:
        there = self._one(data, [there for there in self.sending.destinations.values() if there.flying])
        ticket = self._one(data, list(there.flying) if there else [])
        if there is None or ticket is None:
            return
        if published not in SETTLED_WELL:
            self.failed.add(ticket)
        counts = published is Published.CONFIRMED and not ticket.settled
        confirmed = self.sending.confirmed
        self.ready.clear()
        self.sending.answered(ticket, published)
        assert self.sending.confirmed == confirmed + counts
        assert not there.waiting or there in self.ready, "there is room again, and nobody was told"
        assert not (there.doubt.held and published in SETTLED_WELL)

    @rule(data=st.data(), published=answers)
    def answer_again(self, data: st.DataObject, published: Published) -> None:
        """Of a channel that is long gone."""
        ticket = self._one(data, [one for one in self.flown if one.there and one not in one.there.flying])
        if ticket is not None and ticket.there is not None:
            before = ticket.there.doubt.held, self.sending.confirmed, len(ticket.there.waiting)
            self.sending.answered(ticket, published)
            assert before == (ticket.there.doubt.held, self.sending.confirmed, len(ticket.there.waiting))

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A channel is gone."""
        if (there := self._one(data, list(self.sending.destinations.values()))) is not None:
            self._lose(there)
            self.sending.rest(there)
            assert (there.place in self.sending.destinations) == (bool(there.waiting) or there.doubt.held)

    def _lose(self, there: There) -> None:
        self.failed |= there.flying.keys()
        self.sending.lost(there)
        assert not there.flying

    @rule(seconds=st.sampled_from([0.1, 4.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), may_doubt=st.booleans())
    def expire(self, data: st.DataObject, may_doubt: bool) -> None:
        if (begun := self._one(data, [one for one in self.batches if not one.batch.over])) is not None:
            self._expire(begun, may_doubt)

    def _expire(self, begun: Begun, may_doubt: bool = True) -> None:
        late = [one for one in begun.batch.tickets if one.there and not one.settled]
        since = {there: min(there.flying.values(), default=self.now) for there in map(_place, late)}
        due = {there for there, moment in since.items() if may_doubt and self.now - moment >= PATIENCE / 2}
        before = {there: there.doubt.held for there in since}
        self.failed |= {one for one in begun.batch.tickets if begun.batch.answers[one.place] is None}
        begun.given_up = begun.expired = True
        waited = {there: [one for one in there.waiting if one.batch is not begun.batch] for there in map(_place, late)}
        self.sending.expire(begun.batch, self.now, may_doubt=may_doubt)
        assert None not in begun.batch.answers
        assert all(there.doubt.held and not there.waiting for there in due)
        assert all(there.doubt.held == held for there, held in before.items() if there not in due)
        for there, others in waited.items():
            assert there in due or list(there.waiting)[: len(others)] == others
            assert not any(one.batch is begun.batch for one in there.waiting)
        self._went_past(late)

    @rule(place=places, order=st.sampled_from(["", "s"]), alarm=st.booleans(), replaced=st.booleans())
    def fall_silent(self, place: str, order: str, alarm: bool, replaced: bool) -> None:
        """One is sent, and not answered; then the channel may be replaced."""
        there, begun = self._at(place), self._begin([(place, order, 1)])
        self._write(there, 250)
        self.now += PATIENCE
        if not begun.batch.over:
            self._expire(begun, may_doubt=not alarm)
        if replaced:
            self._lose(there)

    @rule(place=places)
    def follow(self, place: str) -> None:
        """Of one order, the first goes where there may be doubt, and the second elsewhere."""
        other = "b" if place == "a" else "a"
        self._begin([(place, "t", 1), (other, "t", 2)])
        self._write(self._at(other), 250)

    @rule(data=st.data())
    def look_at_probe(self, data: st.DataObject) -> None:
        if (ticket := self._one(data, self.flown)) is not None:
            self._look_at(ticket)

    @rule(place=places)
    def ask(self, place: str) -> None:
        """Two are sent where there is doubt, and what flies is looked at in time."""
        there = self._at(place)
        if there.doubt.held and there.idle:
            self._begin([(place, "", 3), (place, "s", 4)])
            self._write(there, 5)
            self._look_at(self.flown[-1])

    def _look_at(self, ticket: Ticket) -> None:
        there = _place(ticket)
        overdue = ticket in there.flying and there.doubt.held
        refused = [ticket, *there.waiting] if overdue else []
        self.failed |= set(refused)
        before = there.doubt.held, len(there.waiting)
        self.sending.overdue(ticket)
        if not overdue:
            assert before == (there.doubt.held, len(there.waiting)), "it was no probe"
            return
        assert there.doubt.refuses and not there.waiting
        assert all(one.settled for one in refused)
        self._went_past(refused)

    def _went_past(self, refused: Iterable[Ticket]) -> None:
        for one in refused:
            if one.there is not None and one.there.doubt.held and one.there.place[0] == EXCHANGE:
                assert getattr(one.post.message, "id", "") in self.past[one.post.key], "it did not go by the detour"

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Whoever waited waits no more."""
        if (begun := self._one(data, [one for one in self.batches if not one.batch.over])) is not None:
            begun.given_up = begun.batch.over = True
            begun.batch.then = None

    def _one(self, data: st.DataObject, some: list[T]) -> T | None:
        return some[data.draw(st.integers(0, len(some) - 1))] if some else None

    # --- what must hold ---

    @invariant()
    def what_was_answered_stays(self) -> None:
        for begun in self.batches:
            new = begun.batch.answers
            assert all(old in (None, now) for old, now in zip(begun.answers, new, strict=bool(begun.answers)))
            begun.answers = list(new)
            if begun.batch.then is not None:
                assert len(begun.ended) == begun.batch.over == (None not in new)

    @invariant()
    def nobody_waits_where_nothing_is_answered(self) -> None:
        for there in self.sending.destinations.values():
            if there.doubt.refuses:
                assert not there.waiting
                assert there.flying, "it would refuse for ever"

    @invariant()
    def what_is_late_waits_nowhere(self) -> None:
        waiting = [one for there in self.sending.destinations.values() for one in there.waiting]
        assert not any(begun.expired and one.batch is begun.batch for begun in self.batches for one in waiting)

    @invariant()
    def what_is_unknown_has_a_reason(self) -> None:
        for begun in self.batches:
            for one in begun.batch.tickets if not begun.given_up else ():
                if begun.batch.answers[one.place] is Published.UNKNOWN and one.post.key not in self.doubted:
                    assert one in self.flown or any(
                        other.batch is one.batch and other.batch.answers[other.place] not in SETTLED_WELL
                        for other in self._before(one)
                    ), "it was neither sent, nor behind one that failed"

    def teardown(self) -> None:
        """In the end all who still wait are answered, also who comes too late, and nothing is left of them."""
        for begun in self.batches:
            if not begun.batch.over:
                self._expire(begun)
        for there in list(self.sending.destinations.values()):
            self.sending.lost(there)
        self.sending.close()
        self.what_was_answered_stays()
        assert self.sending.begin([Post(EXCHANGE, "a", fact())], PATIENCE).answers == [Published.UNKNOWN]
        assert all(there.idle for there in self.sending.destinations.values())
        assert not self.sending._tails, "somebody still stands in line"


def _place(ticket: Ticket) -> There:
    assert ticket.there is not None
    return ticket.there

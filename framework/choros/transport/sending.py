"""Sending: what waits for its turn, what is in flight, and what becomes of both; no clock, no wire.

Each message is a post on a ticket; those of one call are a batch, those of one order fly one behind the other, those of
one destination up to its window. Whoever has the wire asks what may fly, and says what the broker has answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from choros.transport.doubt import SETTLED_WELL, Doubt
from choros.transport.port import Published
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire

P = TypeVar("P")


class Post(NamedTuple):
    """One message and where it goes. Of those with the same `order`, each waits for the one before."""

    exchange: str
    key: str
    message: Envelope | Wire
    order: tuple[str, str] | None = None


def to_queues(names: Names, messages: Sequence[Envelope]) -> list[Post]:
    """Commands and replies."""
    way = names.way_of
    return [Post(way(message.kind, message.source), message.to, message) for message in messages]


def to_everyone(names: Names, facts: Sequence[Envelope]) -> list[Post]:
    """Facts, each stream in order."""
    way = names.way_of
    return [Post(way(fact.kind, fact.source), fact.type, fact, (fact.source, fact.stream)) for fact in facts]


order_of: Callable[[Post], object] = attrgetter("order")
"""The stream of a fact."""


async def one_by_one(
    some: Sequence[P], line: Callable[[P], object], send: Callable[[Sequence[P]], Awaitable[Sequence[Published]]]
) -> list[Published]:
    """Send each by itself, but not what stands in one line with one that has failed: it must not overtake that."""
    answers: list[Published] = []
    stopped: set[object] = set()
    for one in some:
        answers += [Published.UNKNOWN] if line(one) in stopped else await send([one])
        if answers[-1] not in SETTLED_WELL:
            stopped.add(line(one))
    return answers


class Ticket:
    """One publish."""

    __slots__ = ("batch", "follower", "place", "post", "settled", "there")

    def __init__(self, post: Post, batch: Sheaf[Any], place: int) -> None:
        self.post = post
        self.batch = batch
        self.place = place
        """Among the answers of its batch."""
        self.follower: Any = None
        self.there: Destination[Any] | None = None
        """Where it goes, once its turn has come: nothing of its order is before it."""
        self.settled = False


T = TypeVar("T", bound=Ticket)


class Sheaf(Generic[T]):
    """The answers of one call, in order."""

    __slots__ = ("_left", "answers", "over", "patience", "then", "tickets")

    def __init__(self, posts: Sequence[Post], patience: float, ticket: Callable[[Post, Sheaf[T], int], T]) -> None:
        self.answers: list[Published | None] = [None] * len(posts)
        self.patience = patience
        self.over = False
        """Whether nobody waits any more: what has not been sent by then is not sent."""
        self.then: Callable[[], object] | None = None
        """Called when it is over."""
        self.tickets = [ticket(post, self, place) for place, post in enumerate(posts)]
        self._left = len(posts)

    def answer(self, place: int, published: Published) -> None:
        """The answer to one of them; only the first counts."""
        if self.answers[place] is None:
            self.answers[place] = published
            self._left -= 1
            if not self._left:
                self._finish()

    def expire(self) -> None:
        """Time is up: what has no answer yet is unknown."""
        self.answers = [answer or Published.UNKNOWN for answer in self.answers]
        self._finish()

    def _finish(self) -> None:
        self.over = True
        if self.then is not None:
            self.then()


class Destination(Generic[T]):
    """An exchange and a routing key: who waits to be sent there, who is in flight, and whether it answers."""

    def __init__(self, place: tuple[str, str], doubted: Callable[[str, bool], None]) -> None:
        self.place = place
        self.name = ":".join(place)
        """As people write it: exchange, colon, routing key."""
        self.doubt = Doubt(self._changed)
        self.waiting: deque[T] = deque()
        self.flying: dict[T, float] = {}
        """Since when; the oldest first."""
        self.sent_past: set[str] = set()
        """Ids of what went by the detour, since it did not answer."""
        self._doubted = doubted

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self.waiting and not self.flying

    def forget(self, batch: Sheaf[T]) -> None:
        """Nobody waits for these any more; while nothing can be sent they would only pile up."""
        self.waiting = deque(ticket for ticket in self.waiting if ticket.batch is not batch)

    def is_due(self, now: float, patience: float) -> bool:
        """Whether what was sent first should have been answered, where one waits for so long."""
        oldest = next(iter(self.flying.values()), None)
        return oldest is not None and self.doubt.is_due(now - oldest, patience)

    def land(self, ticket: T) -> bool:
        """It is no longer in flight; whether it was."""
        flew = self.flying.pop(ticket, None) is not None
        if not self.flying:
            self.doubt.nothing_flies()
        return flew

    def _changed(self, held: bool) -> None:
        self.sent_past.clear()
        self._doubted(self.name, held)


class Sending(Generic[T]):
    """All that is to be sent on one lane; `ready` is called of a destination where something may fly, or would like to,
    and `ticket` makes what flies.

    With a `detour`, which names for an exchange another one that leads to the same places, what a destination leaves
    unanswered is also sent there, once and without waiting: it stays unknown, and is published again.
    """

    def __init__(
        self,
        ready: Callable[[Destination[T]], None],
        ticket: Callable[[Post, Sheaf[T], int], T],
        doubted: Callable[[str, bool], None] = lambda destination, doubted: None,
        detour: Callable[[str], str] | None = None,
    ) -> None:
        self.destinations: dict[tuple[str, str], Destination[T]] = {}
        self.confirmed = 0
        """How often a destination has confirmed something."""
        self._ready = ready
        self._ticket = ticket
        self._doubted = doubted
        self._detour = detour
        self._tails: dict[tuple[str, str], T] = {}
        self._refused: deque[T] = deque()
        self._refusing = self._closed = False

    @property
    def silent(self) -> bool:
        """Whether a destination leaves a probe unanswered."""
        return any(there.doubt.refuses for there in self.destinations.values())

    def destination(self, exchange: str, key: str) -> Destination[T]:
        """What goes there."""
        place = exchange, key
        there = self.destinations.get(place)
        if there is None:
            there = self.destinations[place] = Destination(place, self._doubted)
        return there

    def begin(self, posts: Sequence[Post], patience: float) -> Sheaf[T]:
        """Send these. All of them get in line before the first may fly: that one may be refused on the spot, and none
        may overtake it."""
        batch = Sheaf(posts, patience, self._ticket)
        for ticket in [ticket for ticket in batch.tickets if self._line_up(ticket)]:
            self._put(ticket)
        return batch

    def next(self, there: Destination[T], now: float) -> T | None:
        """What flies there from now on, if anything may."""
        while there.waiting and len(there.flying) < there.doubt.window:
            ticket = there.waiting.popleft()
            if not ticket.batch.over:
                there.flying[ticket] = now
                return ticket
            self._settle(ticket, Published.UNKNOWN)
        return None

    def answered(self, ticket: T, published: Published) -> None:
        """The broker has answered, or it could not be written."""
        there = ticket.there
        if there is None or not there.land(ticket):
            return
        self.confirmed += published is Published.CONFIRMED and not ticket.settled
        there.doubt.answered(published)
        self._settle(ticket, published)
        if there.waiting:
            self._ready(there)

    def lost(self, there: Destination[T]) -> None:
        """What it flew on is gone: nobody will ever know what became of these."""
        for ticket in list(there.flying):
            there.land(ticket)
            self._settle(ticket, Published.UNKNOWN)

    def overdue(self, probe: T) -> None:
        """This one was sent alone, to see whether there is an answer, and has had time enough."""
        there = probe.there
        if there is not None and probe in there.flying and there.doubt.held:
            self._refuse(probe)
            self._late(there)

    def expire(self, batch: Sheaf[T], now: float, *, may_doubt: bool = True) -> None:
        """Time is up: what has no answer yet is unknown, and what has not been sent will not be; where these went,
        something is wrong, unless nothing is sent anywhere."""
        batch.expire()
        late = [(ticket, there) for ticket in batch.tickets if (there := ticket.there) and not ticket.settled]
        for there in dict.fromkeys(there for _, there in late):
            there.forget(batch)
            if may_doubt and there.is_due(now, batch.patience):
                self._late(there)
        for ticket, _ in late:
            self._refuse(ticket)

    def rest(self, there: Destination[T]) -> None:
        """Forget a destination of which there is nothing to know."""
        if there.idle and not there.doubt.held:
            self.destinations.pop(there.place, None)

    def close(self) -> None:
        """Answer all who still wait: unknown."""
        self._closed = True
        for there in list(self.destinations.values()):
            while there.waiting:
                self._settle(there.waiting.popleft(), Published.UNKNOWN)

    # --- one behind the other ---

    def _line_up(self, ticket: T) -> bool:
        """Behind the last of the same order; whether it is the first of it."""
        order = ticket.post.order
        if order is None:
            return True
        tail, self._tails[order] = self._tails.get(order), ticket
        if tail is not None:
            tail.follower = ticket
        return tail is None

    def _put(self, ticket: T) -> None:
        """Its turn has come."""
        ticket.there = there = self.destination(ticket.post.exchange, ticket.post.key)
        refused = self._closed or ticket.batch.over or there.doubt.refuses
        if not refused:
            there.waiting.append(ticket)
        self._ready(there)
        if refused:
            self._refuse(ticket)

    def _settle(self, ticket: T, published: Published) -> None:
        """Note the answer, and let the next of the same order go."""
        if ticket.settled:
            return
        ticket.settled = True
        ticket.batch.answer(ticket.place, published)
        if ticket.post.order is not None:
            self._let_follow(ticket, ticket.post.order, published)

    def _let_follow(self, ticket: T, order: tuple[str, str], published: Published) -> None:
        """After a failure the rest of the same batch must not overtake it: it fails as well, unsent."""
        follower = ticket.follower
        if published not in SETTLED_WELL:
            while follower is not None and follower.batch is ticket.batch:
                follower.batch.answer(follower.place, Published.UNKNOWN)
                follower = follower.follower
        if follower is not None:
            self._put(follower)
        else:
            self._tails.pop(order, None)

    # --- what does not answer ---

    def _late(self, there: Destination[T]) -> None:
        there.doubt.late()
        waiting, there.waiting = there.waiting, deque()
        for ticket in waiting:
            self._refuse(ticket)

    def _refuse(self, ticket: T) -> None:
        """It is unknown, and goes by the detour, if there is one. Those that follow it come here in their turn."""
        self._refused.append(ticket)
        if self._refusing:
            return
        self._refusing = True
        try:
            while self._refused:
                refused = self._refused.popleft()
                self._send_past(refused)
                self._settle(refused, Published.UNKNOWN)
        finally:
            self._refusing = False

    def _send_past(self, ticket: T) -> None:
        """Whoever else is bound shall hear of it now; a receiver knows it again when it is published again."""
        (exchange, key, message, _), there = ticket.post, ticket.there
        if self._detour is None or there is None or not there.doubt.held:
            return
        if isinstance(message, Envelope) and message.id not in there.sent_past:
            there.sent_past.add(message.id)
            # Nobody waits for that one, so it is never late, and where it goes is never in doubt.
            self.begin([Post(self._detour(exchange), key, message)], 0.0)

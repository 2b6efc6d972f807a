"""A lane of a simulated transport: publishes of one kind, each destination on a confirmed channel of its own.

It has no detour: a simulated queue always answers, so nobody stands behind one that does not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from choros.transport.doubt import PROBE_SECONDS, SETTLED_WELL, Doubt
from choros.transport.port import Published
from choros.wire.envelope import Wire
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_latency import Road
from choros_verify.simulation.broker_queue import Copy
from choros_verify.simulation.faults import Fault


class Post(NamedTuple):
    """One message and where it goes. Of those with the same `order`, each waits for the one before."""

    exchange: str
    key: str
    wire: Wire
    order: tuple[str, str] | None = None


class _Batch:
    """The answers of one call, in order."""

    def __init__(self, posts: Sequence[Post], patience: float) -> None:
        self.answers: list[Published | None] = [None] * len(posts)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.patience = patience
        self.tickets = [_Ticket(post, self, position) for position, post in enumerate(posts)]
        self._left = len(posts)

    def answer(self, position: int, published: Published) -> None:
        if self.answers[position] is None:
            self.answers[position] = published
            self._left -= 1
            if not self._left:
                self.finish()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True, eq=False)
class _Ticket:
    post: Post
    batch: _Batch
    position: int
    follower: _Ticket | None = None
    faults: Sequence[Fault] = ()
    copies: list[Copy] = field(default_factory=list)
    """What the broker made of it, as long as it has not said so."""
    sent_at: float = 0.0
    queued: bool = False
    settled: bool = False


@dataclass(slots=True, eq=False)
class _Way:
    """One destination and its channel."""

    doubt: Doubt
    waiting: deque[_Ticket] = field(default_factory=deque)
    flying: dict[_Ticket, None] = field(default_factory=dict)
    open: bool = True

    def land(self, ticket: _Ticket) -> None:
        self.flying.pop(ticket, None)
        if not self.flying:
            self.doubt.nothing_flies()


class SimLane:
    """Publishes while there is a connection; what is in flight when it is lost gets no answer."""

    def __init__(
        self,
        broker: SimBroker,
        process: str,
        repair: Callable[[], None],
        doubted: Callable[[str, bool], None] = lambda destination, doubted: None,
    ) -> None:
        self._broker = broker
        self._process = process
        self._repair = repair
        self._doubted = doubted
        self._up = False
        self._dead = False
        self._severed = False
        self._generation = 0
        self._ways: dict[tuple[str, str], _Way] = {}
        self._refused: deque[_Ticket] = deque()
        self._refusing = False
        self._tails: dict[tuple[str, str], _Ticket] = {}
        network = broker.network
        self._out: Road[_Ticket] = Road(network, network.latency.publish, self._reach_broker)
        self._back: Road[tuple[_Ticket, Published]] = Road(network, network.latency.confirm, self._hear)

    async def publish(self, posts: Sequence[Post], patience: float) -> list[Published]:
        """One answer for each, in order, within so many seconds. Cancelling the call cancels no publish."""
        if not posts:
            return []
        batch = _Batch(posts, patience)
        for ticket in [ticket for ticket in batch.tickets if self._line_up(ticket)]:
            self._put(ticket)
        timer = asyncio.get_running_loop().call_later(patience, self._expire, batch)
        try:
            await batch.done
        finally:
            timer.cancel()
        return [answer or Published.UNKNOWN for answer in batch.answers]

    def housed(self) -> None:
        """There is a connection now."""
        self._generation += 1
        self._up = True
        self._severed = False
        if self._broker.blocked:
            self._out.shut()
        for way in list(self._ways.values()):
            way.open = True
            self._write(way)

    def evicted(self, keep: bool) -> None:
        """The connection is lost: some of what was on its way may still have arrived, and nobody will ever know."""
        self._generation += 1
        self._up = False
        network = self._broker.network
        for ticket, published in self._back.cut():
            if not keep and published is Published.CONFIRMED and network.coin():
                self._broker.forget(ticket.copies)
        readable = keep and not self._broker.blocked
        self._out.cut(arriving=network.how_many(len(self._out)) if readable else 0)
        self._give_up_flying()

    def block(self) -> None:
        """The broker reads nothing."""
        self._out.shut()

    def unblock(self) -> None:
        """The broker reads again."""
        self._out.open()

    def close(self) -> None:
        """Answer all who still wait: unknown."""
        for way in list(self._ways.values()):
            while way.waiting:
                self._settle(way.waiting.popleft(), Published.UNKNOWN)

    def die(self) -> None:
        """The process is gone: some of what it has sent may arrive, and nobody is told anything."""
        self._dead = True
        self._up = False
        readable = not self._broker.blocked
        self._out.cut(arriving=self._broker.network.how_many(len(self._out)) if readable else 0)
        self._back.cut()

    def _line_up(self, ticket: _Ticket) -> bool:
        """Behind the last of the same order; whether it is the first of it."""
        order = ticket.post.order
        if order is None:
            return True
        tail, self._tails[order] = self._tails.get(order), ticket
        if tail is not None:
            tail.follower = ticket
        return tail is None

    def _put(self, ticket: _Ticket) -> None:
        ticket.queued = True
        way = self._way(ticket)
        if ticket.batch.done.done() or way.doubt.refuses:
            self._refuse(ticket)
        else:
            way.waiting.append(ticket)
            self._write(way)

    def _way(self, ticket: _Ticket) -> _Way:
        destination = ticket.post.exchange, ticket.post.key
        if destination not in self._ways:
            self._ways[destination] = _Way(Doubt(lambda held: self._doubted(":".join(destination), held)))
        return self._ways[destination]

    def _write(self, way: _Way) -> None:
        while self._up and way.open and way.waiting and len(way.flying) < way.doubt.window:
            ticket = way.waiting.popleft()
            if ticket.batch.done.done():
                self._settle(ticket, Published.UNKNOWN)
                continue
            ticket.faults = self._broker.strikes(self._process, ticket.post.wire)
            if self._dead:  # that was what struck it
                return
            self._send(way, ticket)

    def _send(self, way: _Way, ticket: _Ticket) -> None:
        ticket.sent_at = self._broker.network.now
        way.flying[ticket] = None
        if way.doubt.held:
            self._broker.network.later(PROBE_SECONDS, lambda: self._look_at_probe(way, ticket))
        self._out.send(ticket)

    def _look_at_probe(self, way: _Way, probe: _Ticket) -> None:
        if probe in way.flying and way.doubt.held and not self._dead:
            self._refuse(probe)
            self._late(way)

    def _late(self, way: _Way) -> None:
        way.doubt.late()
        waiting, way.waiting = way.waiting, deque()
        for ticket in waiting:
            self._refuse(ticket)

    def _refuse(self, ticket: _Ticket) -> None:
        """It is unknown; those that follow it come here in their turn."""
        self._refused.append(ticket)
        if self._refusing:
            return
        self._refusing = True
        while self._refused:
            self._settle(self._refused.popleft(), Published.UNKNOWN)
        self._refusing = False

    def _reach_broker(self, ticket: _Ticket) -> None:
        kinds = [fault.kind for fault in ticket.faults]
        if "cut_before" in kinds:
            self._sever()
        way = self._way(ticket)
        if self._severed or ticket not in way.flying:  # its channel is gone
            return
        post = ticket.post
        published, ticket.copies = self._broker.arrive(self._process, post.exchange, post.key, post.wire, ticket.faults)
        if "cut_after" in kinds:
            self._sever()
        elif published is Published.UNKNOWN:
            self._fail_channel(way)
        else:
            self._back.send((ticket, published))

    def _hear(self, heard: tuple[_Ticket, Published]) -> None:
        ticket, published = heard
        ticket.copies = []
        way = self._way(ticket)
        if ticket not in way.flying:
            return
        self._broker.note_message("answered", self._process, ticket.post.wire, published)
        way.land(ticket)
        way.doubt.answered(published)
        self._settle(ticket, published)
        self._write(way)

    def _settle(self, ticket: _Ticket, published: Published) -> None:
        if self._dead or ticket.settled:
            return
        ticket.settled = True
        ticket.batch.answer(ticket.position, published)
        if ticket.post.order is not None:
            self._let_follow(ticket, ticket.post.order, published)

    def _let_follow(self, ticket: _Ticket, order: tuple[str, str], published: Published) -> None:
        """After a failure the rest of the same batch must not overtake it: it fails as well, unsent."""
        follower = ticket.follower
        if published not in SETTLED_WELL:
            while follower is not None and follower.batch is ticket.batch:
                follower.batch.answer(follower.position, Published.UNKNOWN)
                follower = follower.follower
        if follower is not None:
            self._put(follower)
        else:
            self._tails.pop(order, None)

    def _expire(self, batch: _Batch) -> None:
        """Time is up: what has no answer yet is unknown, and what has not been sent will not be."""
        if self._dead:
            return
        batch.finish()
        late = [ticket for ticket in batch.tickets if ticket.queued and not ticket.settled]
        for way in dict.fromkeys(map(self._way, late)):
            way.waiting = deque(ticket for ticket in way.waiting if ticket.batch is not batch)
            oldest = next(iter(way.flying), None)
            if oldest is None or self._broker.blocked:
                continue
            if way.doubt.is_due(self._broker.network.now - oldest.sent_at, batch.patience):
                self._late(way)
        for ticket in late:
            self._refuse(ticket)

    def _fail_channel(self, way: _Way) -> None:
        """There is no such exchange: that costs the channel, with all that is in flight on it."""
        way.open = False
        self._give_up(way)
        network, generation = self._broker.network, self._generation
        network.later(network.seconds(network.latency.resubscribe), lambda: self._reopen(way, generation))

    def _reopen(self, way: _Way, generation: int) -> None:
        if generation == self._generation and not self._dead:
            self._repair()
            way.open = True
            self._write(way)

    def _sever(self) -> None:
        """The process loses this connection, and perhaps the other one too."""
        self._severed = True
        self._broker.cut(self._process, consuming=self._broker.network.coin())

    def _give_up_flying(self) -> None:
        self._back.cut()
        for way in list(self._ways.values()):
            self._give_up(way)

    def _give_up(self, way: _Way) -> None:
        for ticket in list(way.flying):
            way.land(ticket)
            self._settle(ticket, Published.UNKNOWN)

"""A lane of a simulated transport: one confirmed channel for one kind of message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from choros.envelope import Wire
from choros.testing.simulation.broker import SimBroker
from choros.testing.simulation.broker_latency import Road
from choros.testing.simulation.broker_queue import Copy
from choros.testing.simulation.faults import Fault
from choros.transport.port import Published

_SETTLED_WELL = (Published.CONFIRMED, Published.RETURNED)


class Post(NamedTuple):
    """One message and where it goes. Of those with the same `order`, each waits for the one before."""

    exchange: str
    key: str
    wire: Wire
    order: tuple[str, str] | None = None


class _Batch:
    """The answers of one call, in order."""

    def __init__(self, size: int) -> None:
        self.answers: list[Published | None] = [None] * size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = size

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


class SimLane:
    """Publishes while there is a connection; what is in flight when it is lost gets no answer."""

    def __init__(self, broker: SimBroker, process: str, repair: Callable[[], None]) -> None:
        self._broker = broker
        self._process = process
        self._repair = repair
        self._up = False
        self._dead = False
        self._severed = False
        self._generation = 0
        self._waiting: deque[_Ticket] = deque()
        self._flying: dict[_Ticket, None] = {}
        self._tails: dict[tuple[str, str], _Ticket] = {}
        network = broker.network
        self._out: Road[_Ticket] = Road(network, network.latency.publish, self._reach_broker)
        self._back: Road[tuple[_Ticket, Published]] = Road(network, network.latency.confirm, self._hear)

    async def publish(self, posts: Sequence[Post], patience: float) -> list[Published]:
        """One answer for each, in order, within so many seconds. Cancelling the call cancels no publish."""
        if not posts:
            return []
        batch = _Batch(len(posts))
        for position, post in enumerate(posts):
            self._queue(_Ticket(post, batch, position))
        self._write()
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
        self._write()

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
        while self._waiting:
            self._settle(self._waiting.popleft(), Published.UNKNOWN)

    def die(self) -> None:
        """The process is gone: some of what it has sent may arrive, and nobody is told anything."""
        self._dead = True
        self._up = False
        readable = not self._broker.blocked
        self._out.cut(arriving=self._broker.network.how_many(len(self._out)) if readable else 0)
        self._back.cut()

    def _queue(self, ticket: _Ticket) -> None:
        order = ticket.post.order
        if order is not None:
            tail, self._tails[order] = self._tails.get(order), ticket
            if tail is not None:
                tail.follower = ticket
                return
        self._waiting.append(ticket)

    def _write(self) -> None:
        while self._up and self._waiting:
            ticket = self._waiting.popleft()
            if ticket.batch.done.done():
                self._settle(ticket, Published.UNKNOWN)
                continue
            ticket.faults = self._broker.strikes(self._process, ticket.post.wire)
            if self._dead:  # that was what struck it
                return
            self._flying[ticket] = None
            self._out.send(ticket)

    def _reach_broker(self, ticket: _Ticket) -> None:
        kinds = [fault.kind for fault in ticket.faults]
        if "cut_before" in kinds:
            self._sever()
        if self._severed:
            return
        post = ticket.post
        published, ticket.copies = self._broker.arrive(self._process, post.exchange, post.key, post.wire, ticket.faults)
        if "cut_after" in kinds:
            self._sever()
        elif published is Published.UNKNOWN:
            self._fail_channel()
        else:
            self._back.send((ticket, published))

    def _hear(self, heard: tuple[_Ticket, Published]) -> None:
        ticket, published = heard
        ticket.copies = []
        self._broker.note_message("answered", self._process, ticket.post.wire, published)
        self._settle(ticket, published)
        self._write()

    def _settle(self, ticket: _Ticket, published: Published) -> None:
        if self._dead:
            return
        self._flying.pop(ticket, None)
        ticket.batch.answer(ticket.position, published)
        if ticket.post.order is not None:
            self._let_follow(ticket, ticket.post.order, published)

    def _let_follow(self, ticket: _Ticket, order: tuple[str, str], published: Published) -> None:
        """After a failure the rest of the same batch must not overtake it: it fails as well, unsent."""
        follower = ticket.follower
        if published not in _SETTLED_WELL:
            while follower is not None and follower.batch is ticket.batch:
                follower.batch.answer(follower.position, Published.UNKNOWN)
                follower = follower.follower
        if follower is not None:
            self._waiting.append(follower)
        else:
            self._tails.pop(order, None)

    def _expire(self, batch: _Batch) -> None:
        """Time is up: what has no answer yet is unknown, and what has not been sent will not be."""
        if self._dead:
            return
        batch.finish()
        late = [ticket for ticket in self._waiting if ticket.batch is batch]
        self._waiting = deque(ticket for ticket in self._waiting if ticket.batch is not batch)
        for ticket in late:
            self._settle(ticket, Published.UNKNOWN)

    def _fail_channel(self) -> None:
        """There is no such exchange: that costs the channel, with all that is in flight on it."""
        self._up = False
        self._severed = True
        self._out.cut()
        self._give_up_flying()
        network, generation = self._broker.network, self._generation
        network.later(network.seconds(network.latency.resubscribe), lambda: self._reopen(generation))

    def _reopen(self, generation: int) -> None:
        if generation == self._generation and not self._dead:
            self._repair()
            self.housed()

    def _sever(self) -> None:
        """The process loses this connection, and perhaps the other one too."""
        self._severed = True
        self._broker.cut(self._process, consuming=self._broker.network.coin())

    def _give_up_flying(self) -> None:
        self._back.cut()
        for ticket in list(self._flying):
            self._settle(ticket, Published.UNKNOWN)

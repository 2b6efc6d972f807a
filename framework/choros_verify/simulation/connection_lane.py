"""A lane of a simulated transport: publishes of one kind, each destination on a confirmed channel of its own.

It has no detour: a simulated queue always answers, so nobody stands behind one that does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from choros.transport.memory.transport import written
from choros.transport.port import Published
from choros.transport.rabbitmq.doubt import PROBE_SECONDS, Doubt
from choros.transport.rabbitmq.sending import Batch, Post, Sender, Ticket
from choros.wire.envelope import Envelope, Wire
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_latency import Road
from choros_verify.simulation.broker_queue import Copy
from choros_verify.simulation.faults import Fault


class _SimTicket(Ticket):
    __slots__ = ("copies", "faults", "written")

    def __init__(self, post: Post, batch: Batch[_SimTicket], position: int) -> None:
        super().__init__(post, batch, position)
        self.written = written([post.message])[0] if isinstance(post.message, Envelope) else post.message
        """None where it cannot be."""
        self.faults: Sequence[Fault] = ()
        self.copies: list[Copy] = []
        """What the broker made of it, as long as it has not said so."""

    @property
    def wire(self) -> Wire:
        """Of a ticket that is put, which one that cannot be written never is."""
        return cast(Wire, self.written)


@dataclass(slots=True, eq=False)
class _SimWay:
    """One destination and its channel."""

    doubt: Doubt
    waiting: deque[_SimTicket] = field(default_factory=deque)
    flying: dict[_SimTicket, None] = field(default_factory=dict)
    open: bool = True

    def land(self, ticket: _SimTicket) -> None:
        self.flying.pop(ticket, None)
        if not self.flying:
            self.doubt.nothing_flies()


class SimLane(Sender[_SimTicket]):
    """Publishes while there is a connection; what is in flight when it is lost gets no answer."""

    def __init__(
        self,
        broker: SimBroker,
        process: str,
        repair: Callable[[], None],
        doubted: Callable[[str, bool], None] = lambda destination, doubted: None,
    ) -> None:
        super().__init__()
        self._broker = broker
        self._process = process
        self._repair = repair
        self._doubted = doubted
        self._up = False
        self._dead = False
        self._severed = False
        self._generation = 0
        self._ways: dict[tuple[str, str], _SimWay] = {}
        network = broker.network
        self._out: Road[_SimTicket] = Road(network, network.latency.publish, self._reach_broker)
        self._back: Road[tuple[_SimTicket, Published]] = Road(network, network.latency.confirm, self._hear)

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
        self._out.open()

    def close(self) -> None:
        """Answer all who still wait: unknown."""
        for way in list(self._ways.values()):
            while way.waiting:
                self.settle(way.waiting.popleft(), Published.UNKNOWN)

    def die(self) -> None:
        """The process is gone: some of what it has sent may arrive, and nobody is told anything."""
        self._dead = True
        self._up = False
        readable = not self._broker.blocked
        self._out.cut(arriving=self._broker.network.how_many(len(self._out)) if readable else 0)
        self._back.cut()

    def _ticket(self, post: Post, batch: Batch[_SimTicket], position: int) -> _SimTicket:
        return _SimTicket(post, batch, position)

    def _put(self, ticket: _SimTicket) -> None:
        ticket.queued = True
        way = self._way(ticket)
        if ticket.written is None:
            self.settle(ticket, Published.NACKED)
        elif ticket.batch.done.done() or way.doubt.refuses:
            self.refuse(ticket)
        else:
            way.waiting.append(ticket)
            self._write(way)

    def _way(self, ticket: _SimTicket) -> _SimWay:
        destination = ticket.post.exchange, ticket.post.key
        if destination not in self._ways:
            self._ways[destination] = _SimWay(Doubt(lambda held: self._doubted(":".join(destination), held)))
        return self._ways[destination]

    def _write(self, way: _SimWay) -> None:
        while self._up and way.open and way.waiting and len(way.flying) < way.doubt.window:
            ticket = way.waiting.popleft()
            if ticket.batch.done.done():
                self.settle(ticket, Published.UNKNOWN)
                continue
            ticket.faults = self._broker.strikes(self._process, ticket.wire)
            if self._dead:  # that was what struck it
                return
            self._send(way, ticket)

    def _send(self, way: _SimWay, ticket: _SimTicket) -> None:
        ticket.sent_at = self._broker.network.now
        way.flying[ticket] = None
        if way.doubt.held:
            self._broker.network.later(PROBE_SECONDS, lambda: self._look_at_probe(way, ticket))
        self._out.send(ticket)

    def _look_at_probe(self, way: _SimWay, probe: _SimTicket) -> None:
        if probe in way.flying and way.doubt.held and not self._dead:
            self.refuse(probe)
            self._late(way)

    def _late(self, way: _SimWay) -> None:
        way.doubt.late()
        waiting, way.waiting = way.waiting, deque()
        for ticket in waiting:
            self.refuse(ticket)

    def _reach_broker(self, ticket: _SimTicket) -> None:
        kinds = [fault.kind for fault in ticket.faults]
        if "cut_before" in kinds:
            self._sever()
        way = self._way(ticket)
        if self._severed or ticket not in way.flying:  # its channel is gone
            return
        post = ticket.post
        published, ticket.copies = self._broker.arrive(
            self._process, post.exchange, post.key, ticket.wire, ticket.faults
        )
        if "cut_after" in kinds:
            self._sever()
        elif published is Published.UNKNOWN:
            self._fail_channel(way)
        else:
            self._back.send((ticket, published))

    def _hear(self, heard: tuple[_SimTicket, Published]) -> None:
        ticket, published = heard
        ticket.copies = []
        way = self._way(ticket)
        if ticket not in way.flying:
            return
        self._broker.note_message("answered", self._process, ticket.wire, published)
        way.land(ticket)
        way.doubt.answered(published)
        self.settle(ticket, published)
        self._write(way)

    def settle(self, ticket: _SimTicket, published: Published) -> None:
        """Nobody is told anything of a process that is gone."""
        if not self._dead:
            super().settle(ticket, published)

    def _expire(self, batch: Batch[_SimTicket]) -> None:
        if not self._dead:
            super()._expire(batch)

    def _give_up_on(self, batch: Batch[_SimTicket], late: Sequence[_SimTicket]) -> None:
        for way in dict.fromkeys(map(self._way, late)):
            way.waiting = deque(ticket for ticket in way.waiting if ticket.batch is not batch)
            oldest = next(iter(way.flying), None)
            if oldest is None or self._broker.blocked:
                continue
            if way.doubt.is_due(self._broker.network.now - oldest.sent_at, batch.patience):
                self._late(way)

    def _fail_channel(self, way: _SimWay) -> None:
        """There is no such exchange: that costs the channel, with all that is in flight on it."""
        way.open = False
        self._give_up(way)
        network, generation = self._broker.network, self._generation
        network.later(network.seconds(network.latency.resubscribe), lambda: self._reopen(way, generation))

    def _reopen(self, way: _SimWay, generation: int) -> None:
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

    def _give_up(self, way: _SimWay) -> None:
        for ticket in list(way.flying):
            way.land(ticket)
            self.settle(ticket, Published.UNKNOWN)

"""A lane of a simulated transport: publishes of one kind, each destination on a confirmed channel of its own.

It has no detour: a simulated queue always answers, so nobody stands behind one that does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from choros.transport.memory.transport import written
from choros.transport.port import Published
from choros.transport.sender import Sender
from choros.transport.sending import Destination, Sheaf, Ticket
from choros.wire.envelope import Wire
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_latency import Road
from choros_verify.simulation.broker_queue import Copy
from choros_verify.simulation.faults import Fault


class _SimTicket(Ticket):
    """One publish; the rest is there once it flies."""

    __slots__ = ("copies", "faults", "flown_to", "wire")

    copies: Sequence[Copy]
    """What the broker made of it, as long as it has not said so."""
    faults: Sequence[Fault]
    flown_to: Destination[_SimTicket]
    wire: Wire

    @property
    def awaited(self) -> bool:
        """Whether the channel that it set out on is still there."""
        return self in self.flown_to.flying


class SimLane(Sender[_SimTicket]):
    """Publishes while there is a connection; what is in flight when it is lost gets no answer."""

    def __init__(
        self, broker: SimBroker, process: str, repair: Callable[[], None], doubted: Callable[[str, bool], None]
    ) -> None:
        super().__init__(_SimTicket, doubted, lambda: not broker.blocked)
        self._broker = broker
        self._process = process
        self._repair = repair
        self._up = self._dead = self._severed = False
        self._generation = 0
        self._shut: set[Destination[_SimTicket]] = set()
        """Whose channel the broker has closed."""
        network = broker.network
        self._out: Road[_SimTicket] = Road(network, network.latency.publish, self._reach_broker)
        self._back: Road[tuple[_SimTicket, Published]] = Road(network, network.latency.confirm, self._hear)

    def housed(self) -> None:
        """There is a connection now."""
        self._generation += 1
        self._up, self._severed = True, False
        if self._broker.blocked:
            self._out.shut()
        self._shut.clear()
        for there in list(self.sending.destinations.values()):
            self._ready(there)

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
        self._back.cut()
        self.lose_all()

    def block(self) -> None:
        """The broker reads nothing."""
        self._out.shut()

    def unblock(self) -> None:
        self._out.open()

    def die(self) -> None:
        """The process is gone: some of what it has sent may arrive, and nobody is told anything."""
        self._dead = True
        self._up = False
        readable = not self._broker.blocked
        self._out.cut(arriving=self._broker.network.how_many(len(self._out)) if readable else 0)
        self._back.cut()
        for there in self.sending.destinations.values():
            there.waiting.clear()
            there.flying.clear()

    def _ready(self, there: Destination[_SimTicket]) -> None:
        while self._up and there not in self._shut and (ticket := self.fly(there)) is not None:
            wire = written(ticket.post.message)
            if wire is None:
                self.sending.answered(ticket, Published.NACKED)
                continue
            ticket.flown_to, ticket.wire, ticket.copies = there, wire, ()
            ticket.faults = self._broker.strikes(self._process, wire)
            if not self._dead:  # that was what struck it
                self._out.send(ticket)

    def _reach_broker(self, ticket: _SimTicket) -> None:
        kinds = [fault.kind for fault in ticket.faults]
        if "cut_before" in kinds:
            self._sever()
        if self._severed or not ticket.awaited:
            return
        exchange, key, *_ = ticket.post
        published, ticket.copies = self._broker.arrive(self._process, exchange, key, ticket.wire, ticket.faults)
        if "cut_after" in kinds:
            self._sever()
        elif published is Published.UNKNOWN:
            self._fail_channel(ticket.flown_to)
        else:
            self._back.send((ticket, published))

    def _hear(self, heard: tuple[_SimTicket, Published]) -> None:
        ticket, published = heard
        ticket.copies = ()
        if ticket.awaited:
            self._broker.note_message("answered", self._process, ticket.wire, published)
            self.sending.answered(ticket, published)

    def _expire(self, batch: Sheaf[_SimTicket]) -> None:
        """Nobody is told anything of a process that is gone."""
        if not self._dead:
            super()._expire(batch)

    def _fail_channel(self, there: Destination[_SimTicket]) -> None:
        """There is no such exchange: that costs the channel, with all that is in flight on it."""
        self._shut.add(there)
        self.sending.lost(there)
        network, generation = self._broker.network, self._generation
        network.later(network.seconds(network.latency.resubscribe), lambda: self._reopen(there, generation))

    def _reopen(self, there: Destination[_SimTicket], generation: int) -> None:
        if generation == self._generation and not self._dead:
            self._repair()
            self._shut.discard(there)
            self._ready(there)

    def _sever(self) -> None:
        """The process loses this connection, and perhaps the other one too."""
        self._severed = True
        self._broker.cut(self._process, consuming=self._broker.network.coin())

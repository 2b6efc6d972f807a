"""A queue of the simulated broker, and its lines: where RabbitMQ 3.10 and 4.3 differ, and faults of single messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from choros.transport.memory.queues import Letter, Line, MemoryQueue, QueuedMessage
from choros.transport.topology import Queue
from choros.wire.envelope import Wire
from choros_verify.simulation.broker_latency import Network, NoRoad, Road
from choros_verify.simulation.broker_ledger import Ledger, LedgerLine, What, message_of
from choros_verify.simulation.faults import Fault

T = TypeVar("T")
Mode = Literal["3.10", "4.3"]
"""The RabbitMQ whose manners are played."""
DEFAULT_LIMIT = 20
"""What 4.x puts on a quorum queue that was declared without a delivery limit."""


@dataclass(frozen=True, slots=True)
class BrokerSetting:
    """What all parts of one simulated broker share."""

    mode: Mode
    network: Network
    ledger: Ledger
    ack_timeout: float
    """Seconds that a delivery to a quorum queue's consumer may stay unsettled."""

    def note(self, what: What, queue: str, copy: Copy, process: str = "", note: str = "") -> None:
        """Write down what happened to a copy."""
        entry = LedgerLine(self.network.now, what, message_of(copy.wire), queue, copy.number, process, note)
        self.ledger.entries.append(entry)


@dataclass(slots=True, eq=False)
class Copy(QueuedMessage):
    """One message in one queue, numbered for the ledger."""

    number: int = 0


@dataclass(slots=True)
class _Stuck:
    """A dead letter that nobody takes; its queue keeps it."""

    copy: Copy
    letter: Letter


@dataclass(frozen=True, slots=True)
class LineEnds:
    """The consumer's ends of a line from a queue or a log."""

    deliver: Callable[[int, Wire, str], None]
    """A delivery: its tag, the message, the exchange that it was published to."""
    cancelled: Callable[[], None]
    """The broker has ended this consumer (`basic.cancel`)."""
    beside: bool = False
    """Whether they are where the queue is, and somebody else brings what is delivered over the network."""

    def road(self, network: Network, arrive: Callable[[T], None]) -> Road[T] | NoRoad[T]:
        """What deliveries come on."""
        return NoRoad(arrive) if self.beside else Road(network, network.latency.delivery, arrive)


@dataclass(slots=True)
class Aside:
    """What a queue holds besides the messages that are ready."""

    late: list[Copy] = field(default_factory=list)
    """Accepted, and held up on the way in."""
    stuck: list[_Stuck] = field(default_factory=list)
    """Given up, with nowhere to go yet: at-least-once dead-lettering keeps them."""
    lines: list[SimLine] = field(default_factory=list)
    """Of all consumers that may still settle something, cancelled ones too."""


GiveUp = Callable[["SimQueue", Copy, str], None]
"""What to do with a copy that a queue gives up, and why it does."""


class SimQueue(MemoryQueue):
    """A queue with a ledger."""

    def __init__(self, declared: Queue, setting: BrokerSetting, number: Callable[[], int], give_up: GiveUp) -> None:
        super().__init__(declared, self._give_up_copy)
        self.name = declared.name
        self.refuses = False
        """It nacks whatever is published to it, as a full queue does."""
        self.aside = Aside()
        self.setting = setting
        """What it shares with the rest of its broker."""
        self._new_number = number
        self._hand_over = give_up
        self.quorum = self.arguments.get("x-queue-type") == "quorum"
        if not self.quorum:
            self._limit = None
        elif self._limit is None and setting.mode == "4.3":
            self._limit = DEFAULT_LIMIT

    @property
    def at_least_once(self) -> bool:
        """Whether it keeps a dead letter until somebody takes it. Without reject-publish RabbitMQ silently does not."""
        strategy, overflow = self.arguments.get("x-dead-letter-strategy"), self.arguments.get("x-overflow")
        return self.quorum and strategy == "at-least-once" and overflow == "reject-publish"

    @property
    def times_out(self) -> bool:
        """Whether a consumer may leave a delivery unsettled for so long only; since 4.3 quorum queues alone ask it."""
        return self.quorum or self.setting.mode == "3.10"

    def put(self, wire: Wire, exchange: str) -> bool:
        """Take a message; False if it is refused."""
        return bool(self.take(wire, exchange, ()))

    def take(self, wire: Wire, exchange: str, faults: Sequence[Fault]) -> list[Copy]:
        """Take a message with what strikes it on the way in; no copy if it is refused."""
        if self.refuses or not self._has_room():
            return []
        twice = any(fault.kind == "duplicate" for fault in faults)
        copies = [self._numbered(wire, exchange) for _ in range(1 + twice)]
        for copy in copies:
            self.setting.note("queued", self.name, copy)
        delay = max((fault.amount for fault in faults if fault.kind == "delay"), default=0.0)
        if delay:
            self._hold_up(copies, delay)
        elif self._ttl is None and any(fault.kind == "reorder" for fault in faults):
            self.ready.extendleft(copies)
            self.hand_out()
        else:
            for copy in copies:
                self.admit(copy)
        return copies

    def take_back(self, returned: list[QueuedMessage], *, counted: bool = True) -> None:
        """To the front; RabbitMQ 3.10 puts what comes back to a quorum queue without a limit behind all others."""
        for held in returned:
            assert isinstance(held, Copy)
            self.setting.note("returned", self.name, held)
        if self.quorum and self._limit is None:
            for held in returned:
                held.returns += counted
            self.ready.extend(returned)
            self.hand_out()
        else:
            super().take_back(returned, counted=counted)

    def forget(self, copies: Sequence[Copy]) -> None:
        """Lose what was never confirmed, as far as it is with no consumer yet."""
        for copy in copies:
            if copy in self.ready:
                self.ready.remove(copy)
                self.setting.note("lost", self.name, copy)

    def delete(self) -> None:
        """Delete it with all that is in it."""
        for copy in self.contents():
            self.setting.note("deleted", self.name, copy)
        self.ready.clear()
        self.aside.late.clear()
        self.aside.stuck.clear()
        for line in list(self.aside.lines):
            line.queue_deleted()

    def give_up(self, held: QueuedMessage, why: str) -> None:
        """A consumer will not have it."""
        self._give_up_copy(self, held, why)

    def purge(self) -> int:
        """Forget what is ready; returns how many."""
        ready = [held for held in self.ready if isinstance(held, Copy)]
        self.ready.clear()
        for copy in ready:
            self.setting.note("deleted", self.name, copy)
        return len(ready)

    def contents(self) -> list[Copy]:
        """All copies that are its own: ready, on their way in, unsettled, or dead without a grave."""
        unsettled = [held for line in self.aside.lines for held in line.unsettled()]
        held = [*self.ready, *self.aside.late, *unsettled, *(stuck.copy for stuck in self.aside.stuck)]
        return [copy for copy in held if isinstance(copy, Copy)]

    def keep(self, copy: Copy, letter: Letter) -> None:
        """Keep a dead letter that nobody takes."""
        self.aside.stuck.append(_Stuck(copy, letter))

    def _numbered(self, wire: Wire, exchange: str) -> Copy:
        return Copy(wire, exchange, number=self._new_number())

    def _twin(self, held: QueuedMessage) -> QueuedMessage:
        copy = self._numbered(held.wire, held.exchange)
        self.setting.note("queued", self.name, copy)
        return copy

    def _hold_up(self, copies: list[Copy], seconds: float) -> None:
        self.aside.late += copies
        self.setting.network.later(seconds, lambda: self._let_in(copies))

    def _let_in(self, copies: list[Copy]) -> None:
        for copy in copies:
            if copy in self.aside.late:
                self.aside.late.remove(copy)
                self.admit(copy)

    def _give_up_copy(self, _: MemoryQueue, held: QueuedMessage, why: str) -> None:
        assert isinstance(held, Copy)
        self._hand_over(self, held, why)


class SimLine(Line):
    """From one queue to one consumer, over the network; `shut` closes its channel from the broker's side."""

    def __init__(
        self, queue: SimQueue, prefetch: int, process: str, receiver: LineEnds, shut: Callable[[], None]
    ) -> None:
        super().__init__(queue, prefetch)
        self.source = queue
        self._process = process
        self._shut = shut
        self._receiver = receiver
        self._since: dict[int, float] = {}
        self._watched = False
        self._road = receiver.road(queue.setting.network, self._arrive)
        queue.lines.append(self)
        queue.aside.lines.append(self)

    def hand(self, held: QueuedMessage) -> None:
        """Send the consumer a message."""
        assert isinstance(held, Copy)
        self._tag += 1
        self._unsettled[self._tag] = held
        self._since[self._tag] = self.source.setting.network.now
        self._road.send((self._tag, held))
        self._watch()

    def acknowledged(self, tag: int) -> None:
        """The consumer is done with it."""
        self._since.pop(tag, None)
        held = self._unsettled.get(tag)
        if isinstance(held, Copy):
            self.source.setting.note("acked", self.source.name, held, self._process)
        self.settle(tag)

    def given_back(self, tag: int, *, counted: bool) -> None:
        """The consumer puts it back. Since 4.3 a nack no longer counts towards the delivery limit."""
        self._since.pop(tag, None)
        held = self._unsettled.pop(tag, None)
        if held is not None:
            self.queue.take_back([held], counted=counted or self.source.setting.mode == "3.10")

    def rejected(self, tag: int) -> None:
        """The consumer gives it up, to wherever the queue has for that."""
        self._since.pop(tag, None)
        held = self._unsettled.pop(tag, None)
        if held is not None:
            self.source.give_up(held, "rejected")
            self.source.hand_out()

    def cancel(self) -> None:
        """End the consumer from the broker's side; what is out may still be settled."""
        self.stop()
        self._road.send(None)

    def lose(self) -> None:
        """Its channel is gone: all that is unsettled goes back."""
        self.stop()
        self._road.cut()
        self._since.clear()
        if self in self.source.aside.lines:
            self.source.aside.lines.remove(self)
        self.give_back_all()

    def queue_deleted(self) -> None:
        """What was out is gone, and the consumer is told."""
        self._unsettled.clear()
        self._since.clear()
        self.cancel()

    def time_out(self) -> None:
        """Something has been unsettled for too long. 3.10 closes the whole channel, 4.3 ends this consumer alone."""
        if self.source.setting.mode == "3.10":
            self._shut()
        else:
            self._since.clear()
            self.cancel()
            self.give_back_all()

    def _arrive(self, handed: tuple[int, Copy] | None) -> None:
        if handed is None:
            self._receiver.cancelled()
            return
        tag, copy = handed
        self.source.setting.note("delivered", self.source.name, copy, self._process)
        wire = copy.wire
        if copy.returns and self.source.quorum:
            wire = replace(wire, headers={**wire.headers, "x-delivery-count": copy.returns})
        self._receiver.deliver(tag, wire, copy.exchange)

    def _watch(self) -> None:
        """One look at a time, when the oldest delivery's time is up."""
        if not self._watched and self._since and self.source.times_out:
            self._watched = True
            setting = self.source.setting
            setting.network.at(next(iter(self._since.values())) + setting.ack_timeout, self._look)

    def _look(self) -> None:
        self._watched = False
        setting = self.source.setting
        if self._since and next(iter(self._since.values())) + setting.ack_timeout <= setting.network.now:
            self.time_out()
        self._watch()

"""One queue in memory, with the manners of a quorum queue: what is given back comes again first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from choros.transport.arrivals import Arrivals
from choros.transport.topology import Queue
from choros.values import replace
from choros.wire.envelope import Wire

Letter = tuple[str, str, Wire]
"""What a queue gives up, and where it goes: exchange, key, message."""


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """One message in one queue."""

    wire: Wire
    exchange: str
    returns: int = 0
    due: float = 0.0


class Line:
    """From one queue to one consumer: at most `prefetch` messages wait in it or are out unsettled."""

    def __init__(self, queue: MemoryQueue, prefetch: int) -> None:
        self.queue = queue
        self.inbox: Arrivals[tuple[int, QueuedMessage]] = Arrivals()
        self._prefetch = prefetch
        self._unsettled: dict[int, QueuedMessage] = {}
        self._tag = 0

    @property
    def has_room(self) -> bool:
        """Whether the consumer may be handed one more."""
        return len(self._unsettled) < self._prefetch

    def unsettled(self) -> Collection[QueuedMessage]:
        """What is out on this line."""
        return self._unsettled.values()

    def hand(self, held: QueuedMessage) -> None:
        """Give the consumer a message; numbers are never used twice, so a stale settlement finds nothing."""
        self._tag += 1
        self._unsettled[self._tag] = held
        self.inbox.came((self._tag, held))

    def settle(self, tag: int) -> QueuedMessage | None:
        """Take the message off the books, if it is still on them."""
        held = self._unsettled.pop(tag, None)
        if held is not None:
            self.queue.hand_out()
        return held

    def give_back(self, tag: int) -> None:
        """Return one message to the queue."""
        held = self._unsettled.pop(tag, None)
        if held is not None:
            self.queue.take_back([held])

    def stop(self) -> None:
        """Hand out no more."""
        if self in self.queue.lines:
            self.queue.lines.remove(self)
            self.queue.left()

    def give_back_unread(self) -> None:
        """Return what was never received."""
        tags = [tag for tag, _ in self.inbox.waiting]
        self.inbox.waiting.clear()
        self.queue.take_back([self._unsettled.pop(tag) for tag in tags])

    def give_back_all(self) -> None:
        """What a lost connection does: everything unsettled goes back."""
        returned = list(self._unsettled.values())
        self._unsettled.clear()
        self.inbox.waiting.clear()
        self.queue.take_back(returned)


class MemoryQueue:
    """A queue and the lines of its consumers."""

    def __init__(self, declared: Queue, give_up: Callable[[MemoryQueue, QueuedMessage, str], None]) -> None:
        self.arguments: Mapping[str, str | int] = dict(declared.arguments)
        self.ready: deque[QueuedMessage] = deque()
        self.lines: deque[Line] = deque()
        self.duplicates = 0
        self.held_up = False
        self._give_up = give_up
        self._ttl = self._number("x-message-ttl")
        self._limit = self._number("x-delivery-limit")
        self._length = self._number("x-max-length")
        self._unused = self._number("x-expires")
        self._goes_at = 0.0
        self.gone: Callable[[MemoryQueue], None] = lambda _: None
        """Called when nobody has consumed it for as long as it says."""

    def put(self, wire: Wire, exchange: str) -> bool:
        """Take a message; False if the queue is full and says so."""
        if not self._has_room():
            return False
        self.admit(QueuedMessage(wire, exchange))
        return True

    def admit(self, held: QueuedMessage) -> None:
        """Let a message wait behind all others."""
        self.ready.append(held)
        if self._ttl is not None:
            self._expire_later(held, self._ttl / 1000)
        self.hand_out()

    def hand_out(self) -> None:
        """Give what is ready to the consumers with room, in turn."""
        while self.ready and not self.held_up:
            line = self._next_line()
            if line is None:
                return
            held = self.ready.popleft()
            line.hand(held)
            if self.duplicates:
                self.duplicates -= 1
                self.ready.appendleft(self._twin(held))

    def take_back(self, returned: list[QueuedMessage], *, counted: bool = True) -> None:
        """To the front, in order; a message that comes back too often is parked."""
        for held in reversed(returned):
            held.returns += counted
            if self._limit is not None and held.returns > self._limit:
                self._give_up(self, held, "delivery_limit")
            else:
                self.ready.appendleft(held)
        self.hand_out()

    def left(self) -> None:
        """A consumer has left. One that comes starts the time anew."""
        if self._unused is not None and not self.lines:
            loop = asyncio.get_running_loop()
            self._goes_at = loop.time() + self._unused / 1000
            loop.call_at(self._goes_at, self._go, self._goes_at)

    def _go(self, moment: float) -> None:
        if not self.lines and self._goes_at == moment:
            self.gone(self)

    def letter(self, held: QueuedMessage, why: str) -> Letter | None:
        """How this is dead-lettered; None if the queue has no dead-letter exchange."""
        exchange = self.arguments.get("x-dead-letter-exchange")
        if exchange is None:
            return None
        key = str(self.arguments.get("x-dead-letter-routing-key", ""))
        return str(exchange), key, replace(held.wire, headers={"x-first-death-reason": why, **held.wire.headers})

    def _has_room(self) -> bool:
        """Whether one more may come in; the oldest makes room for it, if that was declared."""
        if self._length is not None and len(self.ready) >= self._length:
            if self.arguments.get("x-overflow") == "reject-publish":
                return False
            self._give_up(self, self.ready.popleft(), "maxlen")
        return True

    def _twin(self, held: QueuedMessage) -> QueuedMessage:
        return QueuedMessage(held.wire, held.exchange)

    def _next_line(self) -> Line | None:
        if self.arguments.get("x-single-active-consumer"):
            return self.lines[0] if self.lines and self.lines[0].has_room else None
        for _ in range(len(self.lines)):
            line = self.lines[0]
            self.lines.rotate(-1)
            if line.has_room:
                return line
        return None

    def _expire_later(self, held: QueuedMessage, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        held.due = loop.time() + seconds
        loop.call_at(held.due, self._expire, held.due)

    def _expire(self, moment: float) -> None:
        while self.ready and self.ready[0].due <= moment:
            self._give_up(self, self.ready.popleft(), "expired")

    def _number(self, argument: str) -> int | None:
        value = self.arguments.get(argument)
        return value if isinstance(value, int) else None

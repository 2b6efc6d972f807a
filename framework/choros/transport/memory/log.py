"""A fact log in memory, with the manners of a stream: it keeps what it was given, whoever reads it."""

from __future__ import annotations

from collections import deque

from choros.sources import now
from choros.transport.fact_log import OFFSET
from choros.transport.memory.queues import Line, MemoryQueue, QueuedMessage
from choros.transport.topology import Queue
from choros.values import replace
from choros.wire.envelope import Wire


class LogLine(Line):
    """From the log to one reader; what is not settled when the connection is lost is read again."""

    def __init__(self, log: MemoryLog, prefetch: int, position: int) -> None:
        super().__init__(log, prefetch)
        self.position = position
        """Where the next one stands."""
        self._offsets: dict[int, int] = {}

    def hand(self, held: QueuedMessage) -> None:
        """Give the reader the one at its position."""
        super().hand(held)
        self._offsets[self._tag] = self.position
        self.position += 1

    def settle(self, tag: int) -> QueuedMessage | None:
        """The reader is done with it."""
        self._offsets.pop(tag, None)
        return super().settle(tag)

    def give_back(self, tag: int) -> None:
        """Read on from here again."""
        self._rewind([tag])

    def give_back_unread(self) -> None:
        """What was never received is read by nobody."""
        self._rewind([tag for tag, _ in self.inbox.waiting])
        self.inbox.waiting.clear()

    def give_back_all(self) -> None:
        """What a lost connection does: go on with the first that was not settled."""
        self.inbox.waiting.clear()
        self._rewind(list(self._offsets))

    def _rewind(self, tags: list[int]) -> None:
        given = [self._offsets.pop(tag) for tag in tags if self._unsettled.pop(tag, None) is not None]
        self.position = min([self.position, *given])
        self.queue.hand_out()


class MemoryLog(MemoryQueue):
    """A stream: never full, bounded by size and age."""

    def __init__(self, declared: Queue) -> None:
        super().__init__(declared, lambda *_: None)
        self._most_bytes = self._number("x-max-length-bytes") or 0
        self._age = float(str(self.arguments.get("x-max-age", "0s")).removesuffix("s"))
        self._times: deque[float] = deque()
        self._bytes = 0
        self._first = 0

    def put(self, wire: Wire, exchange: str) -> bool:
        """Take a message, always; the oldest make room for it."""
        offset = self._first + len(self.ready)
        self.ready.append(QueuedMessage(replace(wire, headers={**wire.headers, OFFSET: offset}), exchange))
        self._times.append(now())
        self._bytes += len(wire.body)
        self._trim()
        self.hand_out()
        return True

    def open(self, prefetch: int, since: float | None) -> LogLine:
        """A reader from that moment on, or from the first."""
        later = sum(1 for at in self._times if since is None or at >= since)
        line = LogLine(self, prefetch, self._first + len(self.ready) - later)
        self.lines.append(line)
        self.hand_out()
        return line

    def hand_out(self) -> None:
        """Give each reader with room what it has not read."""
        for line in [] if self.held_up else list(self.lines):
            if isinstance(line, LogLine):
                self._hand_to(line)

    def _hand_to(self, line: LogLine) -> None:
        line.position = max(line.position, self._first)
        while line.has_room and line.position - self._first < len(self.ready):
            line.hand(self.ready[line.position - self._first])

    def _trim(self) -> None:
        while len(self.ready) > 1 and (self._bytes > self._most_bytes or self._times[0] < now() - self._age):
            self._bytes -= len(self.ready.popleft().wire.body)
            self._times.popleft()
            self._first += 1

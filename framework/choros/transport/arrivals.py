"""Arrivals: what has come and nobody has taken yet, and when to take it; no clock, no wire."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

WINDOW_SECONDS = 0.25
BUSY_RATE = 150.0
"""Deliveries a second from which on a burst is waited for (measured: see docs/decisions/0012-bursts.md)."""
BURST_SECONDS, BURST_LOOKS = 0.002, 5
"""How long to wait for the next delivery of a burst, and how often."""

A = TypeVar("A")


class Pace:
    """How fast deliveries come, counted over short windows: under load it pays to wait for the end of a burst, at rest
    it only costs time."""

    def __init__(self) -> None:
        self._since = self._rate = 0.0
        self._count = 0

    def count(self, taken: int, now: float) -> None:
        """So many deliveries were taken now."""
        self._count += taken
        self._roll(now)

    def is_busy(self, now: float) -> bool:
        """Whether deliveries come so fast that the next ones are worth a moment."""
        self._roll(now)
        return self._rate >= BUSY_RATE

    def _roll(self, now: float) -> None:
        seconds = now - self._since
        if seconds >= WINDOW_SECONDS:
            self._rate, self._count, self._since = self._count / seconds, 0, now


class Arrivals(Generic[A]):
    """What has come for one consumer, in order."""

    def __init__(self) -> None:
        self.waiting: deque[A] = deque()
        """What nobody has taken."""
        self.closed = False
        self.fault: Exception | None = None
        """Why nothing more will come."""
        self.wake: Callable[[], object] = lambda: None
        """Called when whoever receives may go on."""

    def came(self, one: A) -> None:
        """Let this be taken."""
        self.waiting.append(one)
        self.wake()

    def fail(self, fault: Exception) -> None:
        """Nothing more will come."""
        self.fault = fault
        self.wake()

    def close(self) -> None:
        """Nobody wants any more."""
        self.closed = True
        self.wake()

    @property
    def ready(self) -> bool:
        """Whether whoever receives has nothing to wait for."""
        return bool(self.waiting or self.closed or self.fault)

    def pauses(self, limit: int) -> Iterator[float]:
        """How long to wait for the end of a burst, again and again: a client hands deliveries over one by one, and
        larger batches cost less for each."""
        for _ in range(BURST_LOOKS):
            seen = len(self.waiting)
            yield BURST_SECONDS
            if not seen < len(self.waiting) < limit:
                return

    def take(self, limit: int) -> list[A]:
        """All that wait, at most `limit`; none once it is closed. Raises the fault, when it has nothing else."""
        waiting = self.waiting
        if self.closed:
            return []
        if not waiting and self.fault is not None:
            raise self.fault
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))]

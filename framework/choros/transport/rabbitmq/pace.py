"""How fast deliveries come: under load it pays to wait for the end of a burst, at rest it only costs time."""

from collections.abc import Callable

WINDOW_SECONDS = 0.25
BUSY_RATE = 150.0
"""Deliveries a second from which on a burst is waited for (measured: see docs/decisions/0012-bursts.md)."""


class Pace:
    """Counts deliveries over short windows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._count = 0
        self._rate = 0.0

    def count(self, taken: int) -> None:
        """So many deliveries were taken now."""
        self._count += taken
        self._roll()

    @property
    def busy(self) -> bool:
        """Whether deliveries come so fast that the next ones are worth a moment."""
        self._roll()
        return self._rate >= BUSY_RATE

    def _roll(self) -> None:
        seconds = self._clock() - self._since
        if seconds >= WINDOW_SECONDS:
            self._rate, self._count, self._since = self._count / seconds, 0, self._clock()

"""Where the wall clock and chance come in: here and nowhere else in the runtime, so that a simulation can give its own.

The source in use goes by context, so each task has that of whoever created it: in a simulated world every process has
a clock of its own, and all chance comes from one seed.
"""

from __future__ import annotations

import os
import random
import time
from contextvars import ContextVar

_pool: list[bytes] = []
os.register_at_fork(after_in_child=_pool.clear)  # a child must not give out the ids of its parent


class Source:
    """The system's own clock and chance; a simulation derives another from it."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def uniform(self, low: float, high: float) -> float:
        """Any number between the two."""
        return random.uniform(low, high)

    def ten_bytes(self) -> bytes:
        """Ten random bytes that nobody can guess; the system is asked for many at once."""
        try:
            return _pool.pop()
        except IndexError:
            block = os.urandom(2560)
            _pool.extend(block[start : start + 10] for start in range(10, 2560, 10))
            return block[:10]


_system = Source()
source: ContextVar[Source] = ContextVar("choros.source", default=_system)
"""The source in use; set it in the context that a process begins in."""


def now() -> float:
    """Seconds since the epoch."""
    return source.get().now()


def uniform(low: float, high: float) -> float:
    """Any number between the two."""
    return source.get().uniform(low, high)

"""Where the wall clock and chance come in: here and nowhere else in the runtime, so that a simulation can give its own.

The source in use goes by context, so each task has that of whoever created it: in a simulated world every process has
a clock of its own, and all chance comes from one seed.
"""

import hashlib
import os
import random
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar

CLOCK_SKEW = 60.0
"""Seconds by which any two clocks may differ: those of two replicas, of a service and the orchestrator that sets its
deadlines, ours and the broker's."""
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


def full_jitter(first: float = 0.2, most: float = 10.0) -> Iterator[float]:
    """Seconds to wait, without end: each between zero and a ceiling that doubles from `first` to `most`."""
    ceiling = first
    while True:
        yield uniform(0, ceiling)
        ceiling = min(most, ceiling * 2)


# --- identifiers: fresh ones (UUIDv7) and derived ones (UUIDv8), RFC 9562 ---


def fresh_id() -> str:
    """A UUIDv7 as text: unique, and increasing with time to the millisecond."""
    given = source.get()
    milliseconds = int(given.now() * 1000)
    random = int.from_bytes(given.ten_bytes(), "big")
    value = (milliseconds << 80) | random
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def fresh_identity() -> str:
    """What tells a store from every other one: short enough for a queue's name."""
    return fresh_id()[-12:]


def derived_id(*parts: str) -> str:
    """The same id for the same parts, on every machine: 128 bits of SHA-256, as UUIDv8 text."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()[:16]
    value = int.from_bytes(digest, "big")
    value = (value & ~(0xF << 76)) | (0x8 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def saga_id_for(saga: str, key: str) -> str:
    """The id of the one saga instance that this start key stands for."""
    return derived_id("choros.saga", saga, key)


def nested_id_for(namespace: str, application: str, saga: str, effect: str) -> str:
    """The id of the one instance of this saga that is nested in another one under this effect."""
    return derived_id("choros.nested", namespace, application, saga, effect)


def rerun_id_for(saga_id: str) -> str:
    """The id of the one instance that this one can be run again as."""
    return derived_id("choros.rerun", saga_id)

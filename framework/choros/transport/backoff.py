"""How long to wait before the next try: exponential with full jitter, so that not all come back at once."""

from __future__ import annotations

from collections.abc import Iterator

from choros.sources import uniform


def full_jitter(first: float = 0.2, most: float = 10.0) -> Iterator[float]:
    """Seconds to wait, without end: each between zero and a ceiling that doubles from `first` to `most`."""
    ceiling = first
    while True:
        yield uniform(0, ceiling)
        ceiling = min(most, ceiling * 2)

"""The fact log: a stream behind the fan-out that keeps what was published, for a while, for whoever comes late."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from choros.errors import DeclarationError

GIB = 1024**3
_LONGEST_AGE = timedelta(days=36_500)
_SEGMENTS = 8
_SMALLEST_SEGMENT, _LARGEST_SEGMENT = 64 * 1024, 64 * 1024 * 1024
MARK = "x-choros-mark"
"""The header of a mark: a message to the log alone, by which a reader knows how far it has come."""
OFFSET = "x-stream-offset"
"""The header by which the broker says where in the log a message stands."""


@dataclass(frozen=True, slots=True)
class FactLog:
    """That an application keeps a log of its facts, and how much of it.

    What is older than `max_age` or makes it larger than `max_bytes` is dropped, oldest first and by whole segments, so
    the log is some larger than it must be. The broker keeps both as they were declared first: another size wants
    another log (`rabbitmqctl delete_queue <ns>.facts.log`)."""

    max_age: timedelta = timedelta(days=7)
    max_bytes: int = GIB

    def __post_init__(self) -> None:
        if self.max_age > _LONGEST_AGE:
            raise DeclarationError("The fact log: max_age is longer than a hundred years.", "timedelta(days=7).")
        if self.max_age < timedelta(seconds=1):
            raise DeclarationError("The fact log keeps nothing: max_age is under a second.", "timedelta(days=7).")
        if self.max_bytes < _SEGMENTS * _SMALLEST_SEGMENT:
            raise DeclarationError("The fact log keeps nothing: max_bytes is under half a MiB.", "1024**3.")

    @property
    def arguments(self) -> Mapping[str, str | int]:
        segment = min(_LARGEST_SEGMENT, self.max_bytes // _SEGMENTS)
        return {
            "x-queue-type": "stream",
            "x-max-age": f"{int(self.max_age.total_seconds())}s",
            "x-max-length-bytes": self.max_bytes,
            "x-stream-max-segment-size-bytes": segment,
        }

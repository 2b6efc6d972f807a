"""A line from a queue or a log to a consumer, as its two ends see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from choros.wire.envelope import Wire


@dataclass(frozen=True, slots=True)
class LineEnds:
    """The consumer's ends of a line."""

    deliver: Callable[[int, Wire, str], None]
    """A delivery: its tag, the message, the exchange that it was published to."""
    cancelled: Callable[[], None]
    """The broker has ended this consumer (`basic.cancel`)."""


class ChannelLine(Protocol):
    """A line as its channel sees it."""

    def acknowledged(self, tag: int) -> None:
        """The consumer is done with a delivery."""

    def given_back(self, tag: int, *, counted: bool) -> None:
        """The consumer puts a delivery back."""

    def stop(self) -> None:
        """Hand out no more."""

    def lose(self) -> None:
        """Its channel is gone."""

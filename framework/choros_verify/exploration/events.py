"""What happens in an exploration, one event at a time; `story.py` puts it into words."""

from __future__ import annotations

from typing import Literal, NamedTuple

from choros_verify.exploration.books import Carried
from choros_verify.exploration.decisions import Decided, Given
from choros_verify.exploration.wire import Ordered

Trouble = Literal["", "duplicate", "crash", "crash, publishes twice"]


class Happening(NamedTuple):
    """What happened, for the story."""

    kind: Literal["decided", "carried", "scanned", "expired", "forgotten", "horizon"]
    given: tuple[Given, ...] = ()
    decided: Decided | None = None
    other: Decided | None = None
    """A second decision on the same version."""
    ordered: Ordered | None = None
    carried: Carried | None = None
    trouble: Trouble = ""
    step: int = 0

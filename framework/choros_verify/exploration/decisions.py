"""Decisions in numbers, as an exploration knows them, and what else happens in it; `story.py` puts it into words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from choros.saga.machine.inputs import Answered, Event, Input, Release
from choros.saga.machine.instance import Instance, States
from choros_verify.exploration import holds
from choros_verify.exploration.books import Books, Carried
from choros_verify.exploration.times import EARLY, Moment
from choros_verify.exploration.wire import Ordered

Trouble = Literal["", "duplicate", "crash", "crash, publishes twice"]


class Given(NamedTuple):
    """What is decided on together, and when."""

    inputs: tuple[Input, ...]
    moment: Moment = EARLY


class Stored(NamedTuple):
    """A saga in the store, and the facts that it has published so far."""

    instance: Instance
    facts: tuple[str, ...] = ()
    order: tuple[frozenset[str], ...] = ()
    """The leaves that may stand, the oldest first; together those of which nobody knew when the saga turned back."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What an instance begins with that takes another one over; one that does not begins with nothing."""

    kept: States = field(default_factory=States)
    updated: tuple[tuple[str, str], ...] = ()
    facts: tuple[str, ...] = ()
    """Those that are published already."""
    order: tuple[frozenset[str], ...] = ()
    """The kept leaves that stand, the oldest first."""
    books: tuple[Books, ...] = ()
    """By the place of the step."""


class Decided(NamedTuple):
    """A decision, in numbers."""

    number: int
    """The saga as stored afterwards."""
    sends: tuple[int, ...]
    facts: tuple[Release, ...]
    events: tuple[Event, ...]
    retries: int
    """Budget that it takes: one for each further attempt."""
    withdraws: bool
    """Whether commands that have not left yet never will."""
    orders: tuple[Ordered, ...]
    broken: holds.Violation | None = None
    """What is wrong with it, if anything: told only when the walk comes to it."""


class Happening(NamedTuple):
    """What happened, for the story."""

    kind: Literal["decided", "carried", "scanned", "expired", "forgotten", "horizon", "finished"]
    given: tuple[Given, ...] = ()
    decided: Decided | None = None
    other: Decided | None = None
    """A second decision on the same version."""
    ordered: Ordered | None = None
    carried: Carried | None = None
    trouble: Trouble = ""
    step: int = 0


def givens(reply: Answered) -> Sequence[Given]:
    """The ways in which a reply may be decided on: a failure also when the time for retries is over."""
    return [Given((reply,), moment) for moment in moments(reply)]


def moments(reply: Answered) -> tuple[Moment, ...]:
    """The moments in which a reply may be decided on."""
    return (EARLY, Moment(used_up=frozenset({reply.key.path}))) if reply.outcome == "failed" else (EARLY,)

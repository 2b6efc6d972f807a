"""Decisions in numbers, and who makes them (`Orchestrator`), as the rest of an exploration knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from choros.saga.machine.inputs import Answered, Event, Input, Release
from choros.saga.machine.instance import Instance
from choros.saga.saga import Saga
from choros_verify.exploration import holds
from choros_verify.exploration.times import Moment
from choros_verify.exploration.wire import Ordered


class Given(NamedTuple):
    """What is decided on together, and when."""

    inputs: tuple[Input, ...]
    moment: Moment = "early"


class Stored(NamedTuple):
    """A saga in the store, and the facts that it has published so far."""

    instance: Instance
    facts: tuple[str, ...] = ()


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


class Deciding(Protocol):
    """What decides for an exploration."""

    @property
    def saga(self) -> Saga[Any]:
        """What is explored."""
        ...

    @property
    def stored(self) -> Sequence[Stored]:
        """Everything that was ever stored, by number."""
        ...

    @property
    def replies(self) -> Mapping[str, str]:
        """The body of an example of every reply, by its type name."""
        ...

    def begin(self) -> Decided:
        """The saga starts."""
        ...

    def decide(self, number: int, given: Given) -> Decided | None:
        """What comes of it; None where nothing does."""
        ...

    def together(self, number: int, first: Given, second: Given) -> Decided | None:
        """Both in one transition; None where that is the same as one after the other."""
        ...

    def number(self, stored: Stored) -> int:
        """The number of what is stored."""
        ...

    def stuck(self, number: int) -> holds.Violation | None:
        """Whether nothing will ever wake the saga."""
        ...

    def ignores(self, number: int, reply: Answered) -> bool:
        """Whether nothing comes of this reply."""
        ...


def givens(reply: Answered) -> Sequence[Given]:
    """The ways in which a reply may be decided on: a failure also when the time for retries is over."""
    return [Given((reply,), moment) for moment in moments(reply)]


def moments(reply: Answered) -> tuple[Moment, ...]:
    """The moments in which a reply may be decided on."""
    return ("early", "used up") if reply.outcome == "failed" else ("early",)

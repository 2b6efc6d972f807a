"""Decisions in numbers, as an exploration knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from choros.saga.machine.inputs import Answered, Event, Input, Release
from choros.saga.machine.instance import Instance
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


def givens(reply: Answered) -> Sequence[Given]:
    """The ways in which a reply may be decided on: a failure also when the time for retries is over."""
    return [Given((reply,), moment) for moment in moments(reply)]


def moments(reply: Answered) -> tuple[Moment, ...]:
    """The moments in which a reply may be decided on."""
    return ("early", "used up") if reply.outcome == "failed" else ("early",)

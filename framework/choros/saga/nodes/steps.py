"""What a saga is made of: commanded steps (`Step`, `Pivot`, `Retriable`) and event-driven ones (`Publish`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from choros.messages import Command, Fact
from choros.saga.policy import DEFAULT_TIMEOUT, RetryPolicy

CommandBuilder = Callable[..., Command[Any]]
FactBuilder = Callable[..., Fact]


@dataclass(frozen=True, slots=True)
class Step:
    """A commanded step before the pivot, with the command that undoes it."""

    action: CommandBuilder
    to: str
    compensation: CommandBuilder | None = None
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    """How long one attempt, of the step or of its undo, may go unanswered."""
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    undo_retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    name: str = field(default="", kw_only=True)
    """The name of the function, if not given. It is part of every command key, so it must not change."""


@dataclass(frozen=True, slots=True)
class Pivot:
    """The go/no-go step: refused, all before it is undone; carried out, the saga only goes forward."""

    action: CommandBuilder
    to: str
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    name: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Retriable:
    """A commanded step after the pivot: it cannot be refused and is tried until it succeeds."""

    action: CommandBuilder
    to: str
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    name: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Publish:
    """An event-driven step: a fact that subscribers handle on their own, tracked by nobody.

    Before the pivot it is held until the pivot is carried out, unless `early`; an early fact needs a `retraction`,
    the fact that takes it back when the saga is undone.
    """

    fact: FactBuilder
    early: bool = field(default=False, kw_only=True)
    retraction: FactBuilder | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)


Commanded = Step | Pivot | Retriable
Node = Commanded | Publish

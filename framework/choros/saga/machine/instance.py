"""The state of one saga instance: a frozen value, readable as JSON, with everything that a decision needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

Status = Literal["running", "compensating", "completed", "compensated", "parked"]
TERMINAL: tuple[Status, ...] = ("completed", "compensated")
_STRICT = ConfigDict(extra="forbid")
"""A field that is not known here was written by a newer choros: to drop it with the next commit would lose it."""
Progress = Literal["pending", "sent", "ok", "refused", "in_doubt", "undone", "held", "published", "retracted"]


@dataclass(frozen=True, slots=True)
class Leg:
    """The command that a step awaits an answer to, over all its attempts. Times are seconds since the epoch."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    operation: Literal["do", "undo", "close"]
    command: str
    """The command's body, frozen when it was first sent."""
    attempt: int
    """Starts are counted, not results."""
    first_at: float
    due: float | None
    """When its timer fires; None while parked."""
    waiting: bool = False
    """True between two attempts; False while an answer is awaited."""
    closing: str = ""
    """For a close: the reply that a person supplies if there is no effect."""
    forgotten: bool = False
    """Whether the participant has said that it would not know any more: then it never carries it out either."""


@dataclass(frozen=True, slots=True)
class StepState:
    """How far one step is."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    progress: Progress = "pending"
    round: int = 1
    """Rises when a person retries a step that was definitely refused, closed or undone."""
    reply: str = ""
    """The reply's body, once it is known."""
    leg: Leg | None = None
    not_after: float | None = None
    """The greatest deadline that any `do` was sent with."""
    began: float | None = None
    """When the `do` of this round was first sent; None where an older choros did that."""
    skipped: bool = False
    """Whether a person supplied the reply: the participant has promised that there is no effect."""
    owner: str = ""
    """The saga whose id is in the key of a step that was taken over; empty for its own."""
    fact: str = ""
    """The body of a fact that is held, or was published early."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of a saga."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    saga_id: str
    start: str
    """The start message's body."""
    steps: tuple[StepState, ...]
    status: Status = "running"
    cursor: int = 0
    """The step that is at work."""
    backward: bool = False
    """Whether the saga is being undone."""
    paused: bool = False
    failure: str = ""
    """Why it is being undone: the body of a Failure."""
    wanted: str = ""
    """Asked for while the pivot is in flight: 'cancelled' or 'deadline'; acts only if the pivot is refused."""
    deadline: float | None = None
    parked: str = ""
    """Why it waits for a person."""
    seq: int = 0
    """The number of the last fact released."""
    successor: str = ""
    """The instance that this one was run again as; it has taken over the steps that it kept."""
    rerun_from: str = ""
    """The step that the successor began with."""
    moved_from: tuple[int, ...] = ()
    """The versions of the declaration that it was moved away from; replies may still name them."""
    apart: int = 0
    """How many ids of inputs that it has taken in have left its record, each an entry now. A choros that would not look
    for them does not know this field, and leaves the instance alone."""
    cause: str = ""
    """The id of the last message that moved the saga."""
    traceparent: str = ""
    tracestate: str = ""

    @property
    def terminal(self) -> bool:
        """Whether nothing will happen any more."""
        return self.status in TERMINAL

    @property
    def wake_at(self) -> float | None:
        """When the next timer is due."""
        if self.terminal:
            return None
        times = [state.leg.due for state in self.steps if state.leg and state.leg.due is not None]
        if self.deadline is not None:
            times.append(self.deadline)
        return min(times, default=None)

    def dumps(self) -> str:
        """The instance as JSON text."""
        return _JSON.dump_json(self, exclude_defaults=True).decode()

    @staticmethod
    def loads(text: str) -> Instance:
        """Read what `dumps` wrote; raises ValueError where that is of another format."""
        return _JSON.validate_json(text)


_JSON = TypeAdapter(Instance)

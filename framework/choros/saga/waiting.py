"""The leaves of the outline that wait: for a moment, or for somebody outside the saga to tell it something."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from choros.messages import Fact, Message, Signal
from choros.names import BusinessKey
from choros.saga.outline import Leaf
from choros.saga.parameters import Builder, Known, PureFunction

Lapse = Literal["compensate", "go_on", "park"]
"""What comes of a saga that nobody told in time: it is undone, goes on without, or waits for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeping(Leaf):
    """A leaf that waits for a moment, which is decided when the saga comes to it."""

    wait: PureFunction | timedelta | datetime
    """How long, or until when."""
    until: bool
    """Whether that is said as a moment."""

    @property
    def functions(self) -> Sequence[PureFunction]:
        """The one that says how long, if there is one."""
        return (self.wait,) if isinstance(self.wait, PureFunction) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWait(Leaf):
    """A leaf that waits for a signal, or for a fact that says the same to whoever waits for it."""

    signal: type[Signal] | type[Fact]
    limit: timedelta | PureFunction
    """How long, counted from when the saga comes to it."""
    lapse: Lapse
    accept: PureFunction | None = None
    """Whether what it was told is a yes, if it may be a no: that has the saga undone."""
    reminders: tuple[tuple[timedelta, Builder], ...] = ()
    """Facts that are published while nobody has told it, and after what time; in that order."""
    by: str = ""
    """Whose it is to say: a role, or a person; then whoever signals says who he is."""
    carry: bool = False
    """In a `Repeat`: whether what comes too early, or once more, is kept for a later time."""
    about: PureFunction | None = None
    """Of a wait for a fact: the key that this has to be about."""
    of: Callable[[Any], BusinessKey] | None = None
    """What key a fact is about; None for the flow that it is part of."""
    keep: timedelta = timedelta(0)
    """How long a fact is kept for whoever will wait for it."""

    @property
    def builders(self) -> Sequence[Builder]:
        """Those of the reminders."""
        return [builder for _, builder in self.reminders]

    @property
    def functions(self) -> Sequence[PureFunction]:
        """Those of the reminders, of its end, and what says whether it was told yes."""
        others = (one for one in (self.limit, self.accept) if isinstance(one, PureFunction))
        return (*self.builders, *others)

    @property
    def facts(self) -> Sequence[Builder]:
        """The reminders are all that it publishes."""
        return self.builders

    @property
    def signals(self) -> Sequence[type[Message]]:
        """The one."""
        return (self.signal,)

    def after(self, known: Known) -> Known:
        """What it was told is; where it may go on without, perhaps."""
        told = (self.path, self.signal)
        if self.lapse == "go_on":
            return replace(known, maybe=(*known.maybe, told))
        return replace(known, replies=(*known.replies, told))

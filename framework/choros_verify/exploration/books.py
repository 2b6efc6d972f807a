"""What one participant keeps for one step: the barrier's rows, and an account of the effects that nobody can forge."""

from __future__ import annotations

from typing import Literal, NamedTuple

from choros.runtime.participant.verdicts import OPEN, UNSURE
from choros.saga.machine.inputs import Answered
from choros.store.barrier import Row

NOT_AFTER = 100.0
"""The moment at which the deadlines of all commands sent so far pass."""
IN_TIME, TOO_LATE, SHORT = NOT_AFTER - 1, NOT_AFTER + 1, NOT_AFTER / 2


class Books(NamedTuple):
    """One step at its participant."""

    rows: tuple[Row, ...] = ()
    applied: int = 0
    """How often the effect was brought about."""
    undone: int = 0
    refused: bool = False
    """Whether it was ever definitely refused."""
    taken_over: bool = False
    """Whether a close was there that is forgotten by now."""
    horizon: int = 0
    """The last round that lies behind the participant's horizon."""

    @property
    def stands(self) -> bool:
        """Whether the effect is there."""
        return self.applied > self.undone

    @property
    def closed(self) -> bool:
        """Whether a person has taken the step over."""
        return self.taken_over or any(":close" in row.key for row in self.rows)

    def find(self, key: str) -> Row | None:
        """The row of this key."""
        return next((row for row in self.rows if row.key == key), None)

    def keep(self, row: Row) -> Books:
        """With this row written."""
        others = [one for one in self.rows if one.key != row.key]
        return self._replace(rows=tuple(sorted((*others, row), key=lambda one: one.key)))

    def apply(self) -> Books:
        """With the effect brought about (once more)."""
        return self._replace(applied=self.applied + 1)

    def undo(self) -> Books:
        """With the effect undone (once more)."""
        return self._replace(undone=self.undone + 1)

    def forget(self, round_: int) -> Books:
        """With the rows of that round and before forgotten, but for open ones, and the horizon moved there."""
        kept = tuple(row for row in self.rows if (row.began or 0) > round_ or row.state in OPEN | UNSURE)
        return self._replace(rows=kept, horizon=max(self.horizon, round_), taken_over=self.closed)

    def pruned(self, until: Literal["short", "ahead", "all"]) -> Books:
        """With the rows forgotten that may be forgotten once these deadlines have passed; "all" forgets every row."""
        if until == "all":
            return self._replace(rows=())
        now = SHORT if until == "short" else NOT_AFTER
        return self._replace(rows=tuple(row for row in self.rows if row.ends is None or row.ends > now))

    def wrong(self, name: str) -> str:
        """What must never be, if it is: the net effect of a step is nothing or one, and a refusal is final."""
        net = self.applied - self.undone
        if net > 1:
            return f"{name} has taken effect twice"
        if net < 0:
            return f"{name} has been undone more often than it was done"
        if self.refused and self.applied:
            return f"{name} was refused for good, and yet it has taken effect"
        return ""


class Ending(NamedTuple):
    """One way in which a command may end at its participant."""

    books: Books
    reply: Answered | None
    """None where the participant crashed before it could answer."""
    said: str
    """What happened, for the story."""
    crash: bool = False
    late: bool = False
    """The command's deadline had passed, so those of all earlier attempts have too."""


class Carried(NamedTuple):
    """One way in which a command may end, in numbers."""

    accounts: int
    reply: int
    """-1 where there is none."""
    outcome: Ending
    wrong: str

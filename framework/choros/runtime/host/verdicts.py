"""The barrier's decisions: what the rows of an effect say about the next command on it. Pure.

`carrying_out.py` acts on them inside a transaction, `settling.py` outside of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from choros.store.barrier import Row

REFUSAL_MARGIN = 86_400.0
"""Seconds that a refusal outlives its own deadline, besides the skew. A later send of the same command has a later
deadline, which this row cannot know; forgotten too early, the row would let that send through after the saga took the
refusal as final.
(Tombstones need no margin: an undo carries the greatest deadline ever sent.)"""


class BrokenBarrier(Exception):
    """A row that no protocol step can have left; nothing is done about its command."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Answered before: the stored answer again."""

    row: Row


@dataclass(frozen=True, slots=True)
class Settle:
    """A provider may have been called: first find out."""

    row: Row


@dataclass(frozen=True, slots=True)
class Refuse:
    """It must not happen any more."""

    code: Literal["expired", "cancelled"]
    row: Row | None = None
    """The tombstone, where there is one."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """There is no row, and there may have been one: nothing that is said about the effect would be known to be true."""


@dataclass(frozen=True, slots=True)
class CarryOut:
    """Nothing stands in the way: run the handler."""


@dataclass(frozen=True, slots=True)
class LeaveAlone:
    """There is no effect to undo, and from now on there must never be one."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Not answered yet, and from now on it must never be carried out."""


def taken_until(not_after: float | None, skew: float) -> float | None:
    """Until when a participant takes a `do` by its own clock: one that is ahead must not refuse what is in time."""
    return None if not_after is None else not_after + skew


def on_do(
    done: Row | None, not_after: float | None, now: float, *, behind: bool = False
) -> Repeat | Settle | Refuse | CarryOut | Forgotten:
    """A `do` arrived, good until then. The row comes before the deadline: what was answered in time stays answered.
    `behind`: the effect lies behind the horizon."""
    if done is None and behind:
        return Forgotten()
    if done is None:
        return Refuse("expired") if not_after is not None and now > not_after else CarryOut()
    if done.state == "intent":
        return Settle(done)
    if done.reply:
        return Repeat(done)
    if done.state == "tombstone":
        return Refuse("cancelled", done)
    raise BrokenBarrier


def on_undo(
    done: Row | None, undone: Row | None, *, behind: bool = False
) -> Repeat | Settle | LeaveAlone | CarryOut | Forgotten:
    """An `undo` arrived: its own row first, then what became of the `do`. Behind the horizon a `do` that stands says
    nothing of whether it was undone, since the row of that may be gone first."""
    if undone is not None:
        return _on_undo_again(undone)
    if done is not None and done.state == "intent":
        return Settle(done)
    if behind and (done is None or done.state == "ok"):
        return Forgotten()
    if done is None or done.state in ("refused", "tombstone"):
        return LeaveAlone()
    if done.state == "ok":
        return CarryOut()
    raise BrokenBarrier


def _on_undo_again(undone: Row) -> Repeat | Settle | LeaveAlone:
    if undone.state == "intent":
        return Settle(undone)
    if undone.reply:
        return Repeat(undone)
    if undone.state == "tombstone":
        return LeaveAlone()
    raise BrokenBarrier


def on_close(
    done: Row | None, undone: Row | None, closed: Row | None, of: Literal["do", "undo"], *, behind: bool = False
) -> Repeat | Settle | Shut | Forgotten:
    """A `close` arrived. Before an undo is closed it must be known what there was to undo."""
    if closed is not None:
        return Repeat(closed)
    target = undone if of == "undo" else done
    for row in (target, done):
        if row is not None and row.state == "intent":
            return Settle(row)
    if target is not None and target.state in ("ok", "refused"):
        return Repeat(target)
    return Forgotten() if target is None and behind else Shut()


def tombstone_until(not_after: float | None, skew: float, standing: Row | None = None) -> float | None:
    """When a tombstone may be forgotten: never before a row that already stands there; None is never, but for its age.

    Another replica may take the `do` until `not_after` + skew, by a clock that is behind by as much again."""
    if not_after is None or (standing is not None and standing.prune_at is None):
        return None
    until = not_after + 2 * skew
    return max(until, standing.prune_at or 0.0) if standing else until


def refusal_until(not_after: float | None, skew: float) -> float | None:
    """When a refusal may be forgotten; None is never, but for its age."""
    return None if not_after is None else not_after + 2 * skew + REFUSAL_MARGIN

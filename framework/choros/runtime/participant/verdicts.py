"""What the barrier's rows say about the next command on an effect: what is answered, and which rows are written. Pure.

`execution.py` reads the rows and does what the verdict says; an exploration does the same with rows of its own.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from choros.errors import Refused
from choros.messages import Closed, NothingToUndo, Reply
from choros.store.barrier import FORGETTABLE, NEVER, Row, RowState
from choros.values import replace
from choros.wire.command_key import CommandKey

REFUSAL_MARGIN = 86_400.0
"""Seconds that a refusal outlives its own deadline, besides the skew. A later send of the same command has a later
deadline, which this row cannot know; forgotten too early, the row would let that send through after the saga took the
refusal as final.
(Tombstones need no margin: an undo carries the greatest deadline ever sent.)"""
CANCELLED = "cancelled"
"""The code of a `do` that is never to be done: it came after its undo or close, or its provider refuses its key."""
OPEN: frozenset[RowState] = frozenset({"intent", "unfinished"})
"""Rows of commands that somebody outside may still finish."""
UNSURE: frozenset[RowState] = frozenset({"unfinished", "failed"})
"""Rows of commands that were taken, of which nobody here knows whether they have an effect by now."""
Target = Literal["do", "undo"]
EffectSite = Literal["here", "provider", "outside"]
"""Where a handler has its effect: in the transaction of the row, at a provider (semantics 16), anywhere else."""


class BrokenBarrier(Exception):
    """A row that no protocol step can have left; nothing is done about its command."""


# --- what is judged ---------------------------------------------------------------------------------------------------


class Matter(NamedTuple):
    """A command, and all that its verdict depends on."""

    key: CommandKey
    of: Target = "do"
    """What a `close` closes."""
    site: EffectSite = "here"
    not_after: float | None = None
    began: float | None = None
    skew: float = 0.0
    now: float = 0.0
    """When it is judged, which is what its rows say that they were written at."""
    came: float = 0.0
    """When it was found to be in time, or not: what takes long is not late."""
    done: Row | None = None
    undone: Row | None = None
    closed: Row | None = None
    asked: bool = False
    """Whether everybody was asked by now who may know what has become of an unfinished `do`."""
    repeats: bool = False
    """Whether this attempt of it was taken before, and failed since."""
    horizon: float = NEVER
    """How far commands are forgotten, as it was after the rows were read."""

    @property
    def late(self) -> bool:
        """Whether a `do` comes past its deadline; a clock that is ahead must not refuse what is in time."""
        return self.not_after is not None and self.came > self.not_after + self.skew

    @property
    def behind(self) -> bool:
        """Whether rows of the effect may have been forgotten. A command that says nothing of its time comes from an
        orchestrator whose commands never did; their rows never grow old."""
        return self.began is not None and self.began <= self.horizon

    def row(self, state: RowState, key: str = "", prune_at: float | None = None) -> Row:
        """A row about this effect, under the key of the command or another one of the same effect."""
        return Row(key=key or str(self.key), state=state, prune_at=prune_at, began=self.began, since=self.now)


def keys_of(key: CommandKey, of: Target = "do") -> tuple[str, ...]:
    """The rows that have to be read for it: of the `do`, the undo, the close, as far as they concern it."""
    if key.operation == "do":
        return (str(key),)
    done, undone = str(key.of("do")), str(key.of("undo"))
    return (done, undone) if key.operation == "undo" else (done, undone, _close_key(key, of))


def _close_key(key: CommandKey, of: Target) -> str:
    """Both closes of an effect have one key, but each its own answer: a person may close the `do`, later the undo."""
    return str(key) if of == "do" else f"{key}:{of}"


# --- what comes of it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerAgain:
    """Answered before: the stored answer again."""

    row: Row


@dataclass(frozen=True, slots=True)
class Settle:
    """A provider may have been called (or, if the row is fresh, is now to be called for the first time), or has taken
    it to finish it later: find out."""

    row: Row
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Conclude:
    """It is decided: the row is written with the reply in it, after the others."""

    reply: Reply | Refused | Row
    """Of a row: the reply that it keeps."""
    row: Row
    others: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class GoesOn:
    """It was taken, and is not finished yet: nothing is to be done but to say so."""

    row: Row


@dataclass(frozen=True, slots=True)
class TooOld:
    """There is no row, and there may have been one: nothing that is said about the effect would be known to be true."""


@dataclass(frozen=True, slots=True)
class CarryOut:
    """Nothing stands in the way: write the row, and run the handler. Without a row it runs before one is written."""

    row: Row | None = None
    others: tuple[Row, ...] = ()
    """What is written with it. Of the undo of what is not finished: from now on that never must be."""
    withdrawn: Row | None = None
    """The row of that, as it was."""


Verdict = AnswerAgain | Settle | GoesOn | Conclude | TooOld | CarryOut


# --- verdicts ---------------------------------------------------------------------------------------------------------


def judge(matter: Matter) -> Verdict:
    """The verdict on a command that has arrived."""
    match matter.key.operation:
        case "do":
            return on_do(matter)
        case "undo":
            return on_undo(matter)
        case _:
            return on_close(matter)


def on_do(matter: Matter) -> Verdict:
    """The row comes before the deadline: what was answered in time stays answered."""
    done = matter.done
    if done is None and matter.behind:
        return TooOld()
    if done is None:
        return concluded(matter, Refused("expired")) if matter.late else _begun(matter)
    if done.state == "intent":
        return Settle(done)
    if done.state == "unfinished":
        return GoesOn(done) if matter.asked else Settle(done)
    if done.state == "failed" and not matter.repeats:
        return _begun(matter)
    if done.owes_reply:
        return AnswerAgain(done)
    if done.state == "tombstone":
        return Conclude(Refused(CANCELLED), done)
    raise BrokenBarrier


def on_undo(matter: Matter) -> Verdict:
    """Its own row first, then what became of the `do`. Behind the horizon a `do` that stands says nothing of whether it
    was undone, since the row of that may be gone first."""
    done = matter.done
    if matter.undone is not None:
        return _on_undo_again(matter, matter.undone)
    if done is not None and _open(matter, done):
        return Settle(done)
    if done is not None and done.state in UNSURE:
        return _begun(matter, buried(matter), done)
    if matter.behind and (done is None or done.state == "ok"):
        return TooOld()
    if done is None or done.state in FORGETTABLE:
        return nothing_to_undo(matter)
    if done.state == "ok":
        return _begun(matter)
    raise BrokenBarrier


def _open(matter: Matter, row: Row) -> bool:
    """Whether somebody may know what became of it, who was not asked yet."""
    return row.state == "intent" or (row.state == "unfinished" and not matter.asked)


def _on_undo_again(matter: Matter, undone: Row) -> Verdict:
    if undone.state == "intent":
        return Settle(undone)
    if undone.owes_reply:
        return AnswerAgain(undone)
    if undone.state == "tombstone" and matter.done is not None and matter.done.state == "ok":
        return Conclude(Refused(CANCELLED), undone)  # it was closed, and what it is about stands
    if undone.state == "tombstone" and matter.done is None and matter.behind:
        return TooOld()  # it was closed, and what it is about may have been there
    if undone.state == "tombstone":
        return nothing_to_undo(matter)
    raise BrokenBarrier


def on_close(matter: Matter) -> Verdict:
    """Before an undo is closed it must be known what there was to undo."""
    if matter.closed is not None:
        return AnswerAgain(matter.closed)
    target = matter.undone if matter.of == "undo" else matter.done
    for row in (target, matter.done):
        if row is not None and _open(matter, row):
            return Settle(row)
    close = matter.row("ok", _close_key(matter.key, matter.of))
    if target is not None and target.state in ("ok", "refused"):
        return Conclude(target, close)
    if target is None and matter.behind:
        return TooOld()
    undone = (matter.row("tombstone", str(matter.key.of("undo"))),) if matter.of == "undo" else ()
    return Conclude(Closed(), close, (*buried(matter), *undone))


def on_result(matter: Matter, row: Row | None, outcome: Reply | Refused) -> AnswerAgain | Conclude:
    """A provider's answer goes into the row of its intent; one that somebody else put there first wins."""
    return concluded(matter, outcome) if row is None or row.state in OPEN else AnswerAgain(row)


def concluded(matter: Matter, outcome: Reply | Refused) -> Conclude:
    """What the handler came to, or a refusal in its stead."""
    if isinstance(outcome, Refused) and outcome.code == CANCELLED:
        return Conclude(outcome, matter.row("tombstone", prune_at=tombstone_until(matter.not_after, matter.skew)))
    if isinstance(outcome, Refused):
        return Conclude(outcome, matter.row("refused", prune_at=refusal_until(matter.not_after, matter.skew)))
    return Conclude(outcome, matter.row("ok"))


def nothing_to_undo(matter: Matter) -> Conclude:
    """There is no effect to undo, and from now on there must never be one."""
    return Conclude(NothingToUndo(), matter.undone or matter.row("ok"), buried(matter))


def buried(matter: Matter) -> tuple[Row, ...]:
    """From now on the `do` must never be carried out, for as long as one may still arrive."""
    done = matter.done
    standing = done if done is not None and done.state in FORGETTABLE else None
    until = tombstone_until(matter.not_after, matter.skew, standing)
    if done is None or done.state in UNSURE:
        return (matter.row("tombstone", str(matter.key.of("do")), until),)
    return (replace(done, prune_at=until),) if done.state in FORGETTABLE and done.prune_at != until else ()


def _begun(matter: Matter, others: tuple[Row, ...] = (), withdrawn: Row | None = None) -> CarryOut:
    states: dict[EffectSite, RowState] = {"here": "running", "provider": "intent"}
    row = None if matter.site == "outside" else matter.row(states[matter.site])
    return CarryOut(row, others, withdrawn)


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

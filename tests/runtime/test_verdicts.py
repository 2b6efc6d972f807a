"""The verdicts on the barrier's rows, every combination of them: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from choros.errors import Refused
from choros.messages import Closed, NothingToUndo
from choros.runtime.participant.verdicts import (
    REFUSAL_MARGIN,
    AnswerAgain,
    BrokenBarrier,
    CarryOut,
    Conclude,
    EffectSite,
    GoesOn,
    Matter,
    Settle,
    TooOld,
    concluded,
    judge,
    on_result,
    refusal_until,
    tombstone_until,
)
from choros.store.barrier import NEVER, Row
from choros.wire.command_key import CommandKey, Operation

DO, UNDO, CLOSE = "s:a:1:do", "s:a:1:undo", "s:a:1:close"
OK = Row(key=DO, state="ok", content="{}")
REFUSED = Row(key=DO, state="refused", content="{}", prune_at=50.0)
INTENT = Row(key=DO, state="intent", content="{}")
RUNNING = Row(key=DO, state="running")
TOMB = Row(key=DO, state="tombstone")
TAKEN = Row(key=DO, state="unfinished", content="{}")
FAILED = Row(key=DO, state="failed", content="{}")
ANSWERED_TOMB = Row(key=DO, state="tombstone", content="{}")
BEHIND = 3.0
"""A horizon behind which all of this lies."""


def row(key: str, state: Literal["ok", "refused", "tombstone", "running", "intent"], until: float | None = None) -> Row:
    """A row that a verdict makes."""
    return Row(key=key, state=state, prune_at=until, began=2.0, since=10.0)


BEGUN = CarryOut(row(DO, "running"))
UNDOING = CarryOut(row(UNDO, "running"))
EXPIRED = row(DO, "refused", 9.0 + REFUSAL_MARGIN)
NOTHING = row(UNDO, "ok")
BURIED = row(DO, "tombstone")


def verdict(operation: Operation, *rows: Row | None, horizon: float = NEVER, **more: object) -> object:
    """The verdict on a command that meets these rows; refusals are compared by their code."""
    key = CommandKey("s", "a", 1, operation)
    done, undone, closed = (*rows, None, None)[:3]
    found = {"done": done, "undone": undone, "closed": closed, "horizon": horizon, **more}
    return told(judge(Matter(key=key, began=2.0, now=10.0, came=10.0, **found)))  # type: ignore[arg-type] # by name


def told(found: object) -> object:
    """The same, with what can be compared in place of a reply."""
    if isinstance(found, Conclude) and not isinstance(found.reply, Row):
        said = found.reply.code if isinstance(found.reply, Refused) else type(found.reply)
        return (said, found.row, *found.others)
    return found


@pytest.mark.parametrize(
    ("operation", "row", "expected"),
    [
        ("do", TAKEN, GoesOn(TAKEN)),
        ("undo", TAKEN, CarryOut(row(UNDO, "running"), (BURIED,), TAKEN)),
        ("close", TAKEN, (Closed, row(CLOSE, "ok"), BURIED)),
    ],
)
def test_what_is_not_finished(operation: Operation, row: Row, expected: object) -> None:
    """Whoever may know is asked first; then a `do` goes on, and an undo or a close sees to it that it never ends."""
    assert verdict(operation, row) == Settle(row)
    assert verdict(operation, row, asked=True) == expected


def test_what_failed_outside_is_done_again_or_undone() -> None:
    assert verdict("do", FAILED) == verdict("do", FAILED, not_after=9.0) == BEGUN
    assert verdict("undo", FAILED) == CarryOut(row(UNDO, "running"), (BURIED,), FAILED)
    assert verdict("close", FAILED) == (Closed, row(CLOSE, "ok"), BURIED)


def test_the_tombstone_of_what_was_not_finished_lives_as_long_as_any() -> None:
    found = judge(Matter(key=CommandKey("s", "a", 1, "undo"), not_after=9.0, skew=3.0, done=TAKEN, asked=True))
    assert isinstance(found, CarryOut)
    assert [one.prune_at for one in found.others] == [15.0]


@pytest.mark.parametrize(
    ("row", "not_after", "expected"),
    [
        (None, 100.0, BEGUN),
        (None, None, BEGUN),
        (None, 9.0, ("expired", EXPIRED)),
        (None, 10.0, BEGUN),
        (OK, 9.0, AnswerAgain(OK)),  # the row comes before the deadline
        (REFUSED, 9.0, AnswerAgain(REFUSED)),
        (INTENT, 9.0, Settle(INTENT)),
        (TOMB, 100.0, ("cancelled", TOMB)),
        (ANSWERED_TOMB, 100.0, AnswerAgain(ANSWERED_TOMB)),
    ],
)
def test_do(row: Row | None, not_after: float | None, expected: object) -> None:
    assert verdict("do", row, not_after=not_after) == expected


@pytest.mark.parametrize(
    ("done", "undone", "expected"),
    [
        (None, None, (NothingToUndo, NOTHING, BURIED)),
        (REFUSED, None, (NothingToUndo, NOTHING, replace(REFUSED, prune_at=None))),
        (TOMB, None, (NothingToUndo, NOTHING)),
        (INTENT, None, Settle(INTENT)),
        (OK, None, UNDOING),
        (OK, OK, AnswerAgain(OK)),
        (INTENT, OK, AnswerAgain(OK)),
        (OK, INTENT, Settle(INTENT)),
        (OK, TOMB, ("cancelled", TOMB)),  # it stands, and nobody may take it for undone
        (TOMB, TOMB, (NothingToUndo, TOMB)),
        (OK, ANSWERED_TOMB, AnswerAgain(ANSWERED_TOMB)),
    ],
)
def test_undo(done: Row | None, undone: Row | None, expected: object) -> None:
    assert verdict("undo", done, undone) == expected


@pytest.mark.parametrize(
    ("target", "closed", "expected"),
    [
        (None, None, Closed),
        (TOMB, None, Closed),
        (OK, None, Conclude(OK, row(CLOSE, "ok"))),
        (REFUSED, None, Conclude(REFUSED, row(CLOSE, "ok"))),
        (INTENT, None, Settle(INTENT)),
        (INTENT, OK, AnswerAgain(OK)),
    ],
)
def test_close(target: Row | None, closed: Row | None, expected: object) -> None:
    shut = expected is Closed
    done = (Closed, row(CLOSE, "ok"), *(() if target else (BURIED,))) if shut else expected
    assert verdict("close", target, None, closed) == done
    other = row(f"{CLOSE}:undo", "ok")
    undone = (Closed, other, BURIED, row(UNDO, "tombstone")) if shut else expected
    if isinstance(expected, Conclude):
        undone = Conclude(expected.reply, other)
    assert verdict("close", None, target, closed, of="undo") == undone


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (None, TooOld()),
        (OK, AnswerAgain(OK)),
        (REFUSED, AnswerAgain(REFUSED)),
        (INTENT, Settle(INTENT)),
        (TOMB, ("cancelled", TOMB)),
    ],
)
def test_a_do_behind_the_horizon_is_not_done_where_its_row_may_be_gone(done: Row | None, expected: object) -> None:
    assert verdict("do", done, horizon=BEHIND, not_after=100.0) == expected
    assert verdict("do", done, horizon=BEHIND, not_after=9.0) == expected  # nor refused as if it had never been done


@pytest.mark.parametrize(
    ("done", "undone", "expected"),
    [
        (None, None, TooOld()),
        (OK, None, TooOld()),  # it may have been undone, and the row of that be gone first
        (REFUSED, None, (NothingToUndo, NOTHING, replace(REFUSED, prune_at=None))),
        (TOMB, None, (NothingToUndo, NOTHING)),
        (INTENT, None, Settle(INTENT)),
        (None, OK, AnswerAgain(OK)),
        (None, INTENT, Settle(INTENT)),
    ],
)
def test_an_undo_behind_the_horizon_says_nothing_that_it_does_not_know(
    done: Row | None, undone: Row | None, expected: object
) -> None:
    assert verdict("undo", done, undone, horizon=BEHIND) == expected


@pytest.mark.parametrize(
    ("target", "closed", "expected"),
    [
        (None, None, TooOld()),
        (TOMB, None, None),
        (OK, None, None),
        (INTENT, None, Settle(INTENT)),
        (None, OK, AnswerAgain(OK)),
    ],
)
def test_a_close_behind_the_horizon_promises_nothing(target: Row | None, closed: Row | None, expected: object) -> None:
    of_do, of_undo = (target, None, closed), (OK, target, closed)
    assert verdict("close", *of_do, horizon=BEHIND) == (expected or verdict("close", *of_do))
    assert verdict("close", *of_undo, of="undo", horizon=BEHIND) == (expected or verdict("close", *of_undo, of="undo"))


def test_the_horizon_is_behind_what_begins_after_it_and_what_has_no_time() -> None:
    assert verdict("do", None, horizon=2.0) == TooOld()
    assert verdict("do", None, horizon=1.9) == BEGUN
    matter = Matter(key=CommandKey("s", "a", 1, "do"), horizon=BEHIND)
    assert isinstance(judge(matter), CarryOut)


def test_an_undo_that_was_closed_and_comes_behind_the_horizon_is_not_told_that_there_was_nothing() -> None:
    closed = row(UNDO, "tombstone")
    assert verdict("undo", None, closed, horizon=BEHIND) == TooOld()
    assert verdict("undo", OK, closed, horizon=BEHIND) == verdict("undo", OK, closed)
    assert verdict("undo", None, closed) != TooOld()


def test_what_there_was_to_undo_is_settled_before_the_undo_is_closed() -> None:
    assert verdict("close", INTENT, None, None, of="undo") == Settle(INTENT)
    assert verdict("close", INTENT, OK, None, of="undo") == Settle(INTENT)


@pytest.mark.parametrize(
    ("site", "begun"), [("here", row(DO, "running")), ("provider", row(DO, "intent")), ("outside", None)]
)
def test_what_is_written_before_the_handler_runs(site: EffectSite, begun: Row | None) -> None:
    assert verdict("do", None, site=site) == CarryOut(begun)


def test_a_clock_that_is_ahead_refuses_nothing_in_time() -> None:
    assert verdict("do", None, not_after=7.0, skew=3.0) == BEGUN
    assert verdict("do", None, not_after=6.9, skew=3.0) == (
        "expired", row(DO, "refused", 6.9 + 6.0 + REFUSAL_MARGIN),
    )  # fmt: skip


def test_what_a_provider_has_cancelled_is_buried_as_long_as_it_may_arrive() -> None:
    matter = Matter(key=CommandKey("s", "a", 1, "do"), not_after=100.0, skew=60.0, began=2.0, now=10.0)
    assert told(concluded(matter, Refused("cancelled"))) == ("cancelled", row(DO, "tombstone", 220.0))


@pytest.mark.parametrize("there", [None, INTENT])
def test_a_result_goes_into_the_row_of_its_intent(there: Row | None) -> None:
    matter = Matter(key=CommandKey("s", "a", 1, "do"), began=2.0, now=10.0)
    assert told(on_result(matter, there, Closed())) == (Closed, row(DO, "ok"))
    assert told(on_result(matter, there, Refused("no"))) == ("no", row(DO, "refused"))
    assert on_result(matter, OK, Refused("no")) == AnswerAgain(OK)


def test_a_row_that_nothing_can_have_left_is_acted_on_by_nobody() -> None:
    for operation, rows in (("do", (RUNNING,)), ("undo", (RUNNING, None)), ("undo", (OK, RUNNING))):
        with pytest.raises(BrokenBarrier):
            verdict(operation, *rows)  # type: ignore[arg-type] # a literal that mypy has widened


def test_a_tombstone_lives_as_long_as_its_do_may_arrive() -> None:
    assert tombstone_until(100.0, 60.0) == 220.0
    assert tombstone_until(None, 60.0) is None
    assert tombstone_until(100.0, 60.0, REFUSED) == 220.0
    assert tombstone_until(-100.0, 60.0, REFUSED) == 50.0  # never shortened
    assert tombstone_until(100.0, 60.0, TOMB) is None


def test_a_refusal_outlives_the_later_deadlines_that_it_cannot_know() -> None:
    assert refusal_until(100.0, 60.0) == 220.0 + REFUSAL_MARGIN
    assert refusal_until(None, 60.0) is None

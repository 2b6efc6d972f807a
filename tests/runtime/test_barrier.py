"""The barrier's decisions, every combination of rows: pure."""

from __future__ import annotations

import pytest

from choros.runtime.host.verdicts import (
    REFUSAL_MARGIN,
    BrokenBarrier,
    CarryOut,
    Forgotten,
    LeaveAlone,
    Refuse,
    Repeat,
    Settle,
    Shut,
    on_close,
    on_do,
    on_undo,
    refusal_until,
    tombstone_until,
)
from choros.store.barrier import Row

OK = Row(key="s:a:1:do", state="ok", reply="{}")
REFUSED = Row(key="s:a:1:do", state="refused", reply="{}", prune_at=50.0)
INTENT = Row(key="s:a:1:do", state="intent", reply="{}")
RUNNING = Row(key="s:a:1:do", state="running")
TOMB = Row(key="s:a:1:do", state="tombstone")
ANSWERED_TOMB = Row(key="s:a:1:do", state="tombstone", reply="{}")


@pytest.mark.parametrize(
    ("row", "not_after", "expected"),
    [
        (None, 100.0, CarryOut()),
        (None, None, CarryOut()),
        (None, 9.0, Refuse("expired")),
        (None, 10.0, CarryOut()),
        (OK, 9.0, Repeat(OK)),  # the row comes before the deadline
        (REFUSED, 9.0, Repeat(REFUSED)),
        (INTENT, 9.0, Settle(INTENT)),
        (TOMB, 100.0, Refuse("cancelled", TOMB)),
        (ANSWERED_TOMB, 100.0, Repeat(ANSWERED_TOMB)),
    ],
)
def test_do(row: Row | None, not_after: float | None, expected: object) -> None:
    assert on_do(row, not_after, now=10.0) == expected


@pytest.mark.parametrize(
    ("done", "undone", "expected"),
    [
        (None, None, LeaveAlone()),
        (REFUSED, None, LeaveAlone()),
        (TOMB, None, LeaveAlone()),
        (INTENT, None, Settle(INTENT)),
        (OK, None, CarryOut()),
        (OK, OK, Repeat(OK)),
        (INTENT, OK, Repeat(OK)),
        (OK, INTENT, Settle(INTENT)),
        (OK, TOMB, LeaveAlone()),
        (OK, ANSWERED_TOMB, Repeat(ANSWERED_TOMB)),
    ],
)
def test_undo(done: Row | None, undone: Row | None, expected: object) -> None:
    assert on_undo(done, undone) == expected


@pytest.mark.parametrize(
    ("target", "closed", "expected"),
    [
        (None, None, Shut()),
        (TOMB, None, Shut()),
        (OK, None, Repeat(OK)),
        (REFUSED, None, Repeat(REFUSED)),
        (INTENT, None, Settle(INTENT)),
        (INTENT, OK, Repeat(OK)),
    ],
)
def test_close(target: Row | None, closed: Row | None, expected: object) -> None:
    assert on_close(target, None, closed, "do") == expected
    assert on_close(None, target, closed, "undo") == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, Forgotten()),
        (OK, Repeat(OK)),
        (REFUSED, Repeat(REFUSED)),
        (INTENT, Settle(INTENT)),
        (TOMB, Refuse("cancelled", TOMB)),
    ],
)
def test_a_do_behind_the_horizon_is_not_done_where_its_row_may_be_gone(row: Row | None, expected: object) -> None:
    assert on_do(row, 100.0, now=10.0, behind=True) == expected
    assert on_do(row, 9.0, now=10.0, behind=True) == expected  # nor is it refused as if it had never been done


@pytest.mark.parametrize(
    ("done", "undone", "expected"),
    [
        (None, None, Forgotten()),
        (OK, None, Forgotten()),  # it may have been undone, and the row of that be gone first
        (REFUSED, None, LeaveAlone()),
        (TOMB, None, LeaveAlone()),
        (INTENT, None, Settle(INTENT)),
        (None, OK, Repeat(OK)),
        (None, INTENT, Settle(INTENT)),
    ],
)
def test_an_undo_behind_the_horizon_says_nothing_that_it_does_not_know(
    done: Row | None, undone: Row | None, expected: object
) -> None:
    assert on_undo(done, undone, behind=True) == expected


@pytest.mark.parametrize(
    ("target", "closed", "expected"),
    [
        (None, None, Forgotten()),
        (TOMB, None, Shut()),
        (OK, None, Repeat(OK)),
        (INTENT, None, Settle(INTENT)),
        (None, OK, Repeat(OK)),
    ],
)
def test_a_close_behind_the_horizon_promises_nothing(target: Row | None, closed: Row | None, expected: object) -> None:
    assert on_close(target, None, closed, "do", behind=True) == expected
    assert on_close(OK, target, closed, "undo", behind=True) == expected


def test_what_there_was_to_undo_is_settled_before_the_undo_is_closed() -> None:
    assert on_close(INTENT, None, None, "undo") == Settle(INTENT)
    assert on_close(INTENT, OK, None, "undo") == Settle(INTENT)


def test_a_row_that_nothing_can_have_left_is_acted_on_by_nobody() -> None:
    for decide in (
        lambda: on_do(RUNNING, None, 0.0),
        lambda: on_undo(RUNNING, None),
        lambda: on_undo(OK, RUNNING),
    ):
        with pytest.raises(BrokenBarrier):
            decide()


def test_a_tombstone_lives_as_long_as_its_do_may_arrive() -> None:
    assert tombstone_until(100.0, 60.0) == 220.0
    assert tombstone_until(None, 60.0) is None
    assert tombstone_until(100.0, 60.0, REFUSED) == 220.0
    assert tombstone_until(-100.0, 60.0, REFUSED) == 50.0  # never shortened
    assert tombstone_until(100.0, 60.0, TOMB) is None


def test_a_refusal_outlives_the_later_deadlines_that_it_cannot_know() -> None:
    assert refusal_until(100.0, 60.0) == 220.0 + REFUSAL_MARGIN
    assert refusal_until(None, 60.0) is None

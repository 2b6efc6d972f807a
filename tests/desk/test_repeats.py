"""Many attempts that fail alike are one line of a history."""

from __future__ import annotations

from choros.desk.repeats import MOST, folded
from choros.runtime.orchestrator.history import Happened


def attempts(
    count: int, kind: str = "timed_out", step: str = "charge", first: int = 1, code: str = ""
) -> list[Happened]:
    return [
        event
        for number in range(first, first + count)
        for event in (
            Happened("sent", step, "do", number),
            Happened(kind, step, "do", number, code),
        )
    ]


def told(history: list[Happened]) -> list[tuple[str, int, int]]:
    found = folded((event, float(moment)) for moment, event in enumerate(history))
    return [(event.kind, event.attempt, times) for event, _, times in found if event.kind != "sent"]


def test_38_are_one_with_their_number() -> None:
    history = [Happened("started"), *attempts(38), Happened("parked", "charge")]
    assert told(history) == [("started", 0, 1), ("timed_out", 38, 38), ("parked", 0, 1)]


def test_a_few_are_told_one_by_one() -> None:
    assert told(attempts(MOST)) == [("timed_out", number, 1) for number in range(1, MOST + 1)]


def test_what_is_not_alike_is_told_apart() -> None:
    failing = attempts(5, "failed", code="KeyError")
    other = attempts(5, "failed", first=6, code="OSError")
    assert told([*failing, *other]) == [("failed", 5, 5), ("failed", 10, 5)]
    assert told([*attempts(5), *attempts(5, step="ship")]) == [("timed_out", 5, 5), ("timed_out", 5, 5)]


def test_a_person_s_act_stays_where_it_was() -> None:
    act = Happened("retry_scheduled", "charge", "do", act="retry")
    assert told([*attempts(4), act, *attempts(4)]) == [
        ("timed_out", 4, 4),
        ("retry_scheduled", 0, 1),
        ("timed_out", 4, 4),
    ]


def test_nothing_is_lost_of_what_does_not_repeat() -> None:
    history = [*attempts(2), Happened("replied", "charge"), Happened("completed")]
    assert [event for event, _, _ in folded((event, 0.0) for event in history)] == history

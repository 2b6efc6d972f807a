"""Many attempts that fail alike are one line of a history."""

from __future__ import annotations

from choros.desk.repeats import MOST, Event, folded


def attempts(count: int, kind: str = "timed_out", step: str = "charge", first: int = 1, **more: str) -> list[Event]:
    return [
        event
        for number in range(first, first + count)
        for event in (
            {"kind": "sent", "step": step, "operation": "do", "attempt": number},
            {"kind": kind, "step": step, "operation": "do", "attempt": number, **more},
        )
    ]


def told(history: list[Event]) -> list[tuple[str, int, int]]:
    found = folded((event, float(moment)) for moment, event in enumerate(history))
    return [(event["kind"], event.get("attempt", 0), times) for event, _, times in found if event["kind"] != "sent"]


def test_38_are_one_with_their_number() -> None:
    history = [{"kind": "started"}, *attempts(38), {"kind": "parked", "step": "charge"}]
    assert told(history) == [("started", 0, 1), ("timed_out", 38, 38), ("parked", 0, 1)]


def test_a_few_are_told_one_by_one() -> None:
    assert told(attempts(MOST)) == [("timed_out", number, 1) for number in range(1, MOST + 1)]


def test_what_is_not_alike_is_told_apart() -> None:
    failing = attempts(5, "failed", code="KeyError")
    other = attempts(5, "failed", first=6, code="OSError")
    assert told([*failing, *other]) == [("failed", 5, 5), ("failed", 10, 5)]
    assert told([*attempts(5), *attempts(5, step="ship")]) == [("timed_out", 5, 5), ("timed_out", 5, 5)]


def test_a_person_s_act_stays_where_it_was() -> None:
    act: Event = {"kind": "retry_scheduled", "step": "charge", "operation": "do", "act": "retry"}
    assert told([*attempts(4), act, *attempts(4)]) == [
        ("timed_out", 4, 4),
        ("retry_scheduled", 0, 1),
        ("timed_out", 4, 4),
    ]


def test_nothing_is_lost_of_what_does_not_repeat() -> None:
    history = [*attempts(2), {"kind": "replied", "step": "charge"}, {"kind": "completed"}]
    assert [event for event, _, _ in folded((event, 0.0) for event in history)] == history

"""Every outcome of every awaited command, at every moment, through the machine alone; and proof that the walk can fail.

Run with -s to see how far it went."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from choros.messages import Failure
from choros.saga import machine
from choros.saga.declaration import Saga
from choros.saga.plan import Planned
from choros.saga.steps import Pivot
from choros.saga.turn import Turn
from tests.saga.shop import order_saga, parcel_saga
from tests.saga.world import Violation, Walk


@pytest.mark.parametrize(
    ("saga", "options", "least"),
    [
        (order_saga, {}, 2_500),
        (parcel_saga, {}, 800),
        (parcel_saga, {"skips": True}, 4_500),
        (parcel_saga, {"pauses": True}, 1_700),
    ],
    ids=["order", "parcel", "parcel with skips", "parcel with pauses"],
)
def test_every_outcome_at_every_moment(saga: Saga[Any], options: dict[str, Any], least: int) -> None:
    walk = Walk(saga, **options).run()
    print(f"{saga.name} {options}: {len(walk.states)} states, {walk.transitions} transitions, {walk.late} late")  # noqa: T201
    assert len(walk.states) >= least
    assert set(walk.ends) == {"completed", "compensated", "parked"}
    assert walk.late > 1_000


# --- the walk can fail: each mutant is the machine with one rule taken out --------------------------------------------

BACKWARD, AWAITED, WITHDRAW, GIVE_UP = (
    machine._backward,
    machine._is_awaited,
    machine._withdraw,
    machine._give_up,
)


def undo_only_what_is_known_to_be_done(turn: Turn) -> None:
    for index, state in enumerate(turn.instance.steps):
        if state.progress == "in_doubt":
            turn.change_step(index, progress="refused")
    BACKWARD(turn)


def take_a_late_ok_for_the_answer(turn: Turn, planned: Planned, leg: Any, answer: Any) -> bool:
    return True


def undo_without_waiting(turn: Turn) -> None:
    BACKWARD(turn)
    while not turn.instance.terminal:
        turn.change_step(turn.instance.cursor, progress="undone", leg=None)
        BACKWARD(turn)


def undo_oldest_first(turn: Turn) -> None:
    first = turn.state(0)
    if first.progress in ("ok", "in_doubt") and not any(state.leg for state in turn.instance.steps):
        turn.change(cursor=0)
    BACKWARD(turn)
    if not turn.instance.terminal and turn.state(turn.instance.cursor).leg is None:
        turn.change(cursor=len(turn.instance.steps))
        BACKWARD(turn)


def cancel_the_pivot_in_flight(turn: Turn, why: str) -> None:
    pivot = turn.plan.pivot
    if pivot is not None and turn.state(pivot).progress == "sent":
        turn.change_step(pivot, progress="in_doubt", leg=None)
        machine._turn_back(turn, Failure(code=why, kind="cancelled"))
    else:
        WITHDRAW(turn, why)


def compensate_a_pivot_in_doubt(turn: Turn, planned: Planned, leg: Any, code: str) -> None:
    if isinstance(planned.node, Pivot) and leg.operation == "do":
        turn.change_step(planned.index, progress="in_doubt", leg=None)
        machine._turn_back(turn, Failure(code=code, kind="in_doubt"))
    else:
        GIVE_UP(turn, planned, leg, code)


def skip_without_asking(turn: Turn, planned: Planned, leg: Any, code: str) -> None:
    turn.change_step(planned.index, progress="ok", reply="{}", leg=None)
    turn.change(cursor=planned.index + 1)
    machine._go_on(turn)


MACHINE_MUTANTS: list[tuple[str, Callable[..., Any], str]] = [
    ("_backward", undo_only_what_is_known_to_be_done, "an effect stands"),
    ("_is_awaited", take_a_late_ok_for_the_answer, "an effect stands|may stand"),
    ("_backward", undo_without_waiting, "an effect stands"),
    ("_backward", undo_oldest_first, "may stand"),
    ("_withdraw", cancel_the_pivot_in_flight, "may stand|an effect stands"),
    ("_give_up", compensate_a_pivot_in_doubt, "may stand|an effect stands"),
    ("_give_up", skip_without_asking, "took effect"),
]


@pytest.mark.parametrize(("name", "mutant", "violation"), MACHINE_MUTANTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_machine_without_the_rule_is_caught(
    name: str, mutant: Callable[..., Any], violation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, name, mutant)
    with pytest.raises(Violation, match=violation):
        Walk(order_saga).run()


SEND, RELEASE, PARK = Turn.send, Turn.release, Turn.park


def send_without_a_timer(self: Turn, planned: Planned, leg: Any) -> None:
    SEND(self, planned, leg)
    state = self.state(planned.index)
    assert state.leg is not None
    self.change_step(planned.index, leg=replace(state.leg, due=None))


def number_no_fact(self: Turn, type_name: str, data: str, step: str = "") -> None:
    RELEASE(self, type_name, data, step)
    self.change(seq=0)


def keep_what_was_held(self: Turn) -> None:
    """Drops nothing, so the closing commit publishes it although the saga was undone."""


def publish_at_once(self: Turn, type_name: str, data: str, step: str = "") -> None:
    RELEASE(self, type_name, data, step)
    RELEASE(self, type_name, data, step)


TURN_MUTANTS: list[tuple[str, Callable[..., Any], str]] = [
    ("send", send_without_a_timer, "nothing will ever wake the saga"),
    ("release", number_no_fact, "not numbered without gaps"),
    ("drop_held", keep_what_was_held, "before it was true|compensated with"),
    ("release", publish_at_once, "completed with|compensated with"),
]


@pytest.mark.parametrize(("name", "mutant", "violation"), TURN_MUTANTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_turn_without_the_rule_is_caught(
    name: str, mutant: Callable[..., Any], violation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Turn, name, mutant)
    with pytest.raises(Violation, match=violation):
        Walk(parcel_saga).run()


def test_facts_published_before_the_pivot_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = machine._publish
    monkeypatch.setattr(machine, "_publish", lambda turn, planned, early: publish(turn, planned, True))
    with pytest.raises(Violation, match="before it was true"):
        Walk(parcel_saga).run()


def test_an_early_fact_that_is_never_taken_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(turn: Turn) -> None:
        for index, state in enumerate(turn.instance.steps):
            if state.progress == "published":
                turn.change_step(index, progress="retracted")
        BACKWARD(turn)

    monkeypatch.setattr(machine, "_backward", forget)
    with pytest.raises(Violation, match="compensated with"):
        Walk(parcel_saga).run()

"""What of a saga may still come: sure, or hanging on a choice; under way; and on the way back what is left to undo."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from choros.messages import Done
from choros.saga.machine.inputs import TerminateRequested
from choros.saga.nodes import Branch, Existing, ForEach, Parallel, Pivot, Repeat, Scope, Sleep, Step, When
from choros.saga.remaining import RemainingStep, remaining_steps
from choros.saga.saga import Saga
from tests.saga.delivery import STEPS, Order, Packed, Thank, pack, ship, unpack
from tests.saga.driving import Run
from tests.saga.test_update import always, lines, of_each, wrap

PACK = Step(pack, to="store", compensation=unpack)
WRAP = Step(wrap, to="store", compensation=unpack)
TAPE = Step(wrap, to="store", compensation=unpack, name="tape")
SHIP = Pivot(ship, to="carrier")


def run_of(*steps: Any) -> Run:
    return Run(Saga("delivery", start=Order, steps=steps), start=Order())


def left(run: Run) -> list[str]:
    """Each with a star where it is under way, and a question mark where it is not sure."""
    found = remaining_steps(run.saga.outline, run.instance)
    return [f"{one.step}{'*' if one.begun else ''}{'' if one.sure else '?'}" for one in found]


def test_what_is_over_does_not_come_again_and_what_is_under_way_is_said_to_be() -> None:
    run = run_of(PACK, Sleep(timedelta(hours=1)), WRAP, SHIP)
    assert left(run) == ["pack*", "sleep", "wrap", "ship"]
    assert remaining_steps(run.saga.outline, run.instance)[-1] == RemainingStep("ship", "pivot", True, False)
    run.ok(Packed())
    assert left(run) == ["sleep*", "wrap", "ship"]
    run.fire()
    run.ok()
    run.ok()
    assert (run.status, left(run)) == ("completed", [])


def test_a_choice_that_is_not_made_is_not_sure() -> None:
    run = run_of(PACK, When(always, then=[WRAP], otherwise=[TAPE]), SHIP)
    assert left(run) == ["pack*", "always.wrap?", "always.tape?", "ship"]
    run.ok(Packed())
    assert left(run) == ["always.wrap*", "ship"]


def test_what_may_be_passed_over_is_not_sure() -> None:
    def perhaps(order: Order) -> Thank | None:
        return None

    run = run_of(PACK, Step(perhaps, to="store", compensation=unpack), SHIP)
    assert left(run) == ["pack*", "perhaps?", "ship"]
    run.ok(Packed())
    assert left(run) == ["ship*"]


def test_items_are_known_once_the_saga_has_come_to_them() -> None:
    each = ForEach(lines, Step(of_each, to="store", compensation=unpack), name="each", at_once=1)
    run = run_of(PACK, each, SHIP)
    assert left(run) == ["pack*", "each[].of_each?", "ship"]
    run.ok(Packed())
    assert left(run) == ["each[0].of_each*", "each[1].of_each", "ship"]
    run.ok()
    assert left(run) == ["each[1].of_each*", "ship"]


def test_another_time_is_never_sure() -> None:
    run = run_of(PACK, Repeat(WRAP, until=always, at_most=2, name="again"), SHIP)
    assert left(run) == ["pack*", "again[].wrap", "ship"]
    run.ok(Packed())
    assert left(run) == ["again[0].wrap*", "again*?", "ship"]


def test_of_a_race_nobody_knows_who_wins() -> None:
    run = run_of(PACK, Parallel(Branch("a", WRAP), Branch("b", TAPE), first=1, name="race"), SHIP)
    assert left(run) == ["pack*", "race.a.wrap?", "race.b.tape?", "ship"]
    run.ok(Packed())
    assert left(run) == ["race.a.wrap*", "race.b.tape*", "ship"]
    run.ok(Done(), to=run.sends[-2])
    assert "race.b.tape" not in " ".join(left(run)), "it has lost"


def test_another_way_comes_where_the_first_one_fails() -> None:
    run = run_of(Scope(PACK, WRAP, otherwise=[TAPE], name="try"), SHIP)
    assert left(run) == ["try.pack*", "try.wrap", "try.tape?", "ship"]
    run.ok(Packed())
    assert left(run) == ["try.wrap*", "try.tape?", "ship"]
    while run.instance.state("try").choice == "tried":
        run.fire()
    assert left(run) == ["try.tape", "ship"]


def test_on_the_way_back_what_is_left_to_undo_is_told_newest_first() -> None:
    run = run_of(Existing(to="store", compensation=unpack, name="paid"), PACK, WRAP, SHIP)
    assert left(run) == ["pack*", "wrap", "ship"]
    run.ok(Packed())
    run.ok()
    run.refuse("lost")
    assert left(run) == ["wrap*", "pack", "paid"]
    run.ok()
    run.ok()
    assert left(run) == ["paid*"]
    run.ok()
    assert (run.status, left(run)) == ("compensated", [])


def test_of_one_that_is_terminated_nothing_comes() -> None:
    run = run_of(*STEPS[:1], SHIP)
    run.give(TerminateRequested("t"))
    assert (run.status, left(run)) == ("running", [])


def test_one_that_waits_for_a_person_is_still_to_come() -> None:
    run = run_of(PACK, SHIP)
    run.ok(Packed())
    while run.status != "parked":
        run.fire()
    assert left(run) == ["ship*"]

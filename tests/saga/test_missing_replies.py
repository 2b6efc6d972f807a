"""What a compensation may have to do without: said at import, with the reason, for each kind of node."""

from collections.abc import Sequence
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.saga.nodes import Branch, Check, ForEach, Parallel, Repeat, Scope, Step, When
from tests.saga.stand import (
    Hire,
    Invited,
    Measure,
    Measured,
    Plan,
    Rented,
    StandOff,
    Undo,
    crew,
    guests,
    hire,
    invitation,
    invite,
    rent,
    space,
    stand_of,
)
from tests.saga.test_undo_order import is_open


def leave_it(rent: Rented) -> Undo:
    return Undo(what=str(rent.space))


def leave_if_known(rent: Rented | None) -> Undo:
    return Undo(what=str(rent and rent.space))


def uninvite_it(invited: Invited) -> Undo:
    return Undo(what=invited.badge)


def off_with_it(rent: Rented) -> StandOff:
    return StandOff(stand=str(rent.space))


def cards(invited: Sequence[Invited]) -> Hire:
    return Hire(stand=str(len(invited)))


def discard(invited: Sequence[Invited]) -> Undo:
    return Undo(what=str(len(invited)))


def is_far(plan: Plan) -> bool:
    return plan.stand != "s1"


def measure_it(plan: Plan) -> Measure:
    return Measure(space=1)


def close_up(measured: Measured) -> Undo:
    return Undo(what=str(measured.width))


def dismiss_there(rent: Rented) -> Undo:
    return Undo(what=str(rent.space))


def named_there() -> Step:
    return Step(hire, to="agency", compensation=dismiss_there, name="hire_there")


def hire_more(plan: Plan) -> Hire:
    return Hire(stand=plan.stand)


def more() -> Step:
    return Step(hire_more, to="agency", compensation=send_away)


def send_away(plan: Plan) -> Undo:
    return Undo(what="more")


there = Step(hire, to="agency", compensation=dismiss_there)
MAY_COME = "the saga may come here without a reply of"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: stand_of(Step(rent, to="fair", compensation=leave_it)), "rent may be in doubt, as after a timeout"),
        (
            lambda: stand_of(ForEach(guests, Step(invite, to="post", compensation=uninvite_it))),
            "guests[].invite may be in doubt, as after a timeout",
        ),
        (lambda: stand_of(When(is_far, then=space), there), f"{MAY_COME} is_far.rent"),
        (lambda: stand_of(Parallel(space, crew, first=1), named_there()), f"{MAY_COME} parallel.rent"),
        (lambda: stand_of(Parallel(space, crew, more(), at_least=2), named_there()), f"{MAY_COME} parallel.rent"),
        (lambda: stand_of(Scope(space, otherwise=crew), named_there()), f"{MAY_COME} scope.rent"),
        (lambda: stand_of(Scope(space, otherwise=there)), f"{MAY_COME} scope.rent"),
        (lambda: stand_of(space, compensated=off_with_it), "the saga may be undone without a reply of rent"),
    ],
)
def test_what_may_be_missing_is_said_with_the_reason(made: Any, why: str) -> None:
    with pytest.raises(DeclarationError) as told:
        made()
    assert f"which may not be known by then: {why}." in str(told.value)


@pytest.mark.parametrize(
    "steps",
    [
        (Step(rent, to="fair", compensation=leave_if_known),),
        (space, there),
        (Branch("one", space, there),),
        (Parallel(Branch("one", space, there), more()),),
        (Scope(space, there),),
        (When(is_far, then=[space, there]),),
        (ForEach(guests, [invitation, Step(hire, to="agency", compensation=uninvite_it)]),),
        (ForEach(guests, invitation), Step(cards, to="agency", compensation=discard)),
        (
            Repeat(Check(measure_it, to="fair"), until=is_open, at_most=2),
            Step(hire, to="agency", compensation=close_up),
        ),
    ],
    ids=["itself", "a step", "a branch", "beside", "a scope", "a choice", "an item", "a list", "the last time"],
)
def test_what_is_known_before_a_step_its_undo_may_take_for_granted(steps: Any) -> None:
    assert stand_of(*steps).outline.commands

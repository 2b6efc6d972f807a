"""The orders of undoing, explored: each alone, in parts, beside each other; and without any one of their rules."""

from dataclasses import replace
from typing import Any

import pytest

from choros import Branch, ForEach, Parallel, Repeat, Saga, Scope, Step
from choros_verify import Bounds
from choros_verify.exploration.choices import ActKind
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import try_mutant
from choros_verify.exploration.ways import waits
from tests.every_day import every_day
from tests.saga.stand import (
    Furnish,
    Measured,
    clear,
    crew,
    furniture,
    greeting,
    guests,
    invitation,
    opening,
    plan_of,
    planned,
    power,
    space,
    stand_of,
    tape,
    told,
)
from tests.saga.test_undo_order import furniture_of_nothing, is_open, tape_of_nothing


def furnish_twice(measure: Measured, a_second_look: Measured) -> Furnish:
    return Furnish(width=measure.width + a_second_look.width)


furniture_twice = Step(furnish_twice, to="shop", compensation=clear)
CANCEL: frozenset[ActKind] = frozenset({"cancel"})
START = plan_of("ann", "bob").to_json()
NONE, DUPLICATE, CRASH, RETRY = Left(0, 0, 0), Left(1, 0, 0), Left(0, 1, 0), Left(0, 0, 1)
WIDE = {Measured.type_name: Measured(width=9).to_json()}


def sagas(*, undo: Any) -> dict[str, Saga[Any]]:
    """The same with each order."""
    return {
        "alone": stand_of(space, crew, power, opening, undo=undo),
        "behind what was there before": stand_of(planned, space, power, undo=undo),
        "with a check and a fact": stand_of(space, power, tape, told, furniture, undo=undo),
        "with a parallel": stand_of(space, Parallel(power, crew, name="both"), undo=undo),
        "in a branch": stand_of(Parallel(Branch("one", space, power, undo=undo), crew, undo="side_by_side")),
        "with a scope": stand_of(space, Scope(power, crew, otherwise=furniture_of_nothing), undo=undo),
        "in a scope": stand_of(crew, Scope(space, power, undo=undo), tape_of_nothing),
        "in a race": stand_of(Parallel(Branch("one", space, power), crew, first=1, undo=undo), tape_of_nothing),
        "with a list": stand_of(ForEach(guests, invitation, at_once=2, undo=undo)),
        "with a list of two steps": stand_of(ForEach(guests, [invitation, greeting], undo=undo)),
        "with times": stand_of(Repeat([crew, tape_of_nothing], until=is_open, at_most=2), undo=undo),
    }


ORDERS = ("newest_first", "by_dependency", "at_once")
LONG = {"in a branch", "in a race", "with a parallel", "with a list of two steps", "with times"}
"""Half a minute and more, or so where all is undone at once."""
WAYS = [(order, name) for order in ORDERS for name in sagas(undo=order)]
EVERY_DAY = {("newest_first", "with a scope"), ("by_dependency", "alone"), ("at_once", "with a list")}
SIDE_BY_SIDE = {
    "two parallels": stand_of(
        Parallel(
            Parallel(space, crew, name="one"), Parallel(tape_of_nothing, furniture_of_nothing, name="two"),
            undo="side_by_side",
        )
    ),
    "a list and a step": stand_of(
        Parallel(ForEach(guests, invitation, undo="newest_first"), crew, undo="side_by_side", name="both")
    ),
    "a list": stand_of(ForEach(guests, [invitation, greeting], undo="side_by_side")),
    "enough of three": stand_of(
        Parallel(space, Branch("two", crew, tape_of_nothing), furniture_of_nothing, at_least=2)
    ),
}  # fmt: skip


def explored(saga: Saga[Any], budgets: Left = NONE, acts: frozenset[ActKind] = CANCEL) -> Any:
    found = Exploration(saga, Bounds(budgets, acts=acts), start=START).run()
    assert found.complete, found.violation
    assert not found.violation, found.violation.sentence
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", every_day([way for way in WAYS if way[1] not in LONG], EVERY_DAY, pytest.mark.nightly), ids=": ".join
)
def test_every_interleaving_keeps_every_promise(way: tuple[str, str]) -> None:
    order, name = way
    found = explored(sagas(undo=order)[name])
    assert {"compensated", "parked"} <= set(found.ends)


@pytest.mark.cross
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_what_goes_back_side_by_side_keeps_every_promise(name: str) -> None:
    explored(SIDE_BY_SIDE[name])


@pytest.mark.nightly
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("budgets", [DUPLICATE, CRASH, RETRY], ids=["a duplicate", "a crash", "a retry"])
def test_trouble_breaks_nothing(order: Any, budgets: Left) -> None:
    explored(sagas(undo=order)["alone"], budgets, frozenset())


@pytest.mark.cross
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(("order", "name"), WAYS)
def test_the_full_cross_breaks_nothing(order: Any, name: str) -> None:
    explored(sagas(undo=order)[name], NONE if name in LONG else Left(1, 1, 0))


WITHOUT: dict[str, tuple[Saga[Any], str]] = {
    "undo before what needs it": (sagas(undo="by_dependency")["alone"], "two commands are awaited at once"),
    "existing undone with the others": (
        sagas(undo="at_once")["behind what was there before"], "two commands are awaited at once",
    ),
    "one count for all": (
        SIDE_BY_SIDE["two parallels"],
        "parallel.two.measure is undone while parallel.two.furnish, which is newer, may still stand",
    ),
    "part undone oldest first": (
        sagas(undo="newest_first")["in a scope"],
        "scope.rent is undone while scope.lay_power, which is newer, may still stand",
    ),
}  # fmt: skip


@pytest.mark.nightly
@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_rule_of_the_orders_a_promise_breaks(name: str) -> None:
    saga, violation = WITHOUT[name]
    mutant = next(one for one in MUTANTS if one.name == name)
    result = try_mutant(mutant, Exploration(saga, Bounds(acts=frozenset()), start=START))
    assert result.report
    assert result.caught, result.lines()
    assert result.report.violation == violation


def test_who_judges_reads_by_himself_who_needs_whom_through_what_leaves_nothing_to_undo() -> None:
    """However many of these there are, and whatever they are called."""
    outline = stand_of(
        space, tape, replace(tape, name="a_second_look"), crew, furniture_twice, opening, undo="by_dependency"
    ).outline
    needed = [one for one in outline.paths[1:] if waits(outline, "rent", one)]
    assert needed == ["measure", "a_second_look", "furnish_twice"]
    assert not waits(outline, "hire", "furnish_twice")

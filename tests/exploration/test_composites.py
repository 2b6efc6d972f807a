"""Nodes in nodes, explored: each kind alone, and the pairs nested in each other; and without any one of their rules."""

from typing import Any

import pytest

from choros_verify import SHORT, Bounds, explore
from choros_verify.exploration.choices import ActKind
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS, Mutant
from choros_verify.exploration.report import ExplorationReport, lines
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import try_mutant
from tests.exploration.composites import GOES, Go, sagas

NOBODY: frozenset[ActKind] = frozenset()
SOMEBODY: frozenset[ActKind] = frozenset({"cancel", "retry"})
NONE, DUPLICATE, CRASH, RETRY = Left(0, 0, 0), Left(1, 0, 0), Left(0, 1, 0), Left(0, 0, 1)


def explored(
    name: str, budgets: Left, acts: frozenset[ActKind] | None = None, *, left: bool = True
) -> ExplorationReport:
    bounds = Bounds(budgets) if acts is None else Bounds(budgets, acts=acts)
    found = explore(sagas[name], bounds, start=Go(key="g", left=left).to_json())
    print("\n".join(lines(found)))  # noqa: T201
    assert found.complete, found.story
    assert not found.notes
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "left"), [way for way in GOES if way[0] != "parallel in parallel"])
def test_every_interleaving_keeps_every_promise(name: str, left: bool) -> None:
    """A few seconds in all: the smallest has 60 states, two side by side 500."""
    found = explored(name, NONE, SOMEBODY, left=left)
    assert {"completed", "compensated", "parked"} == set(found.ends)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("budgets", [DUPLICATE, CRASH, RETRY], ids=["a duplicate", "a crash", "a retry"])
def test_trouble_breaks_nothing_of_what_is_side_by_side(budgets: Left) -> None:
    explored("parallel", budgets, NOBODY)


@pytest.mark.cross
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(("name", "left"), GOES)
@pytest.mark.parametrize("budgets", [NONE, DUPLICATE, CRASH, RETRY], ids=["none", "a duplicate", "a crash", "a retry"])
def test_trouble_breaks_nothing(name: str, left: bool, budgets: Left) -> None:
    """Two minutes at most, 120,000 states; and whatever people do."""
    explored(name, budgets, left=left)


@pytest.mark.cross
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("name", ["when", "when in when", "behind the pivot", "parallel", "parallel in when"])
def test_the_full_cross_breaks_nothing(name: str) -> None:
    explored(name, SHORT)


def test_a_branch_that_no_message_leads_into_is_told() -> None:
    found = explored("when in when", NONE, NOBODY)
    assert found.not_taken == ["left never went by otherwise", "left.right never went by right"]
    assert "ℹ left never went by otherwise: try other messages, too (--start, --reply)" in lines(found)


# --- negative controls ---


def mutant(name: str) -> Mutant:
    return next(one for one in MUTANTS if one.name == name)


WITHOUT = {
    "refused branch joined": ("parallel", "bind is begun before parallel has taken effect"),
    "open sibling not in doubt": ("parallel", "the saga is compensated, but parallel.a still stands"),
    "in doubt undone last": ("parallel", "parallel.a is undone while parallel.b, which is newer, may still stand"),
    "undo by declaration": ("parallel", "parallel.a is undone while parallel.b, which is newer, may still stand"),
    "unsent of one counts for all": ("parallel", "a command that nobody answered in time spent no attempt"),
    "a walk for each input": ("parallel", "a cancel before the pivot was sent did not turn the saga"),
    "another branch": ("when", "left goes by otherwise"),
    "branch decided twice": ("when in when", "left goes by otherwise"),
    "facts of all branches": (
        "when",
        "the saga is completed, and it published went-right.v1, went-left.v1, arrived.v1",
    ),
}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_rule_of_composites_a_promise_breaks(name: str) -> None:
    saga, violation = WITHOUT[name]
    acts: frozenset[ActKind] = frozenset({"cancel"}) if name == "a walk for each input" else NOBODY
    result = try_mutant(mutant(name), Exploration(sagas[saga], Bounds(acts=acts)))
    assert result.report
    assert result.caught, result.lines()
    assert result.report.violation == violation


def test_what_one_timer_gives_up_is_told_by_its_name() -> None:
    told = try_mutant(mutant("open sibling not in doubt"), Exploration(sagas["parallel"], Bounds(acts=NOBODY))).report
    assert told
    assert any("parallel.a" in sentence for sentence in told.story)


def test_a_saga_without_composites_is_not_tried_on_them() -> None:
    alone: Any = sagas["behind the pivot"]
    concerned = [one.name for one in MUTANTS if one.name in WITHOUT and one.applies(alone)]
    assert concerned == ["unsent of one counts for all"]

"""Negative controls of loops, and of what a saga goes on without: without any one of their rules a promise breaks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from choros import Branch, ForEach, Message, Parallel, Repeat, Saga, Scope, Step
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import Instance, NodeState, States
from choros.wire.command_key import CommandKey
from choros_verify import Bounds, explore
from choros_verify.exploration.choices import ActKind
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import try_mutant
from choros_verify.exploration.ways import order
from tests.every_day import every_day
from tests.exploration.composites import Go, came_back, pivot, step
from tests.exploration.test_mutants import mutant
from tests.saga.parcels import lines, order_of, reserve, saga_of
from tests.saga.refill import Refill, Stocked, is_full, pallet, shelve
from tests.saga.refill import saga_of as refills
from tests.saga.test_each import reserve_first


def going(*steps: Any) -> Saga[Go]:
    return Saga("going", start=Go, steps=steps, compensated=came_back)


class Tried(NamedTuple):
    """A saga that a rule is about, and what breaks in it first without that rule."""

    saga: Saga[Any]
    start: Message
    violation: str
    acts: frozenset[ActKind] = frozenset()


NOBODY: frozenset[ActKind] = frozenset()
TWO, GO = order_of("a", "b"), Go(key="g")
one_by_one = saga_of(ForEach(lines, reserve))
followed = saga_of(ForEach(lines, reserve, at_once=2), reserve_first)
fill = refills(Repeat([pallet, shelve], until=is_full, at_most=2))
ENOUGH, NEVER = Refill(wanted=5), Refill(wanted=6)
"""The shelf holds five, whatever was put on it."""
race = going(Parallel(step("a"), step("b"), first=1), pivot)
enough = going(Parallel(step("a"), step("b"), at_least=1))
scope = going(Scope(step("a"), step("b"), otherwise=step("c")))
WITHOUT = {
    "key without index": Tried(one_by_one, TWO, "a command is sent whose answer nothing awaits"),
    "items listed anew": Tried(one_by_one, TWO, "the saga is completed, but lines has no effect"),
    "over with the first item": Tried(followed, TWO, "two commands are awaited at once"),
    "all items at once": Tried(one_by_one, TWO, "2 items of lines are under way, and not 1"),
    "items undone in their order": Tried(
        one_by_one, TWO, "lines[0].reserve_line is undone while lines[1].reserve_line, which is newer, may still stand"
    ),
    "last time undone only": Tried(fill, NEVER, "the saga is compensated, but repeat[0].order_pallet still stands"),
    "answer not kept": Tried(fill, ENOUGH, "repeat[1].order_pallet is sent, to which the saga does not come"),
    "enough after the first time": Tried(fill, NEVER, "the saga is completed, but repeat has no effect"),
    "times not counted": Tried(fill, NEVER, "repeat[2].order_pallet is sent, to which the saga does not come"),
    "replies folded away": Tried(
        one_by_one, TWO, "what lines[0].reserve_line was answered with is lost, and what comes later may ask for it"
    ),
    "loser left standing": Tried(race, GO, "the saga is compensated, but parallel.a still stands"),
    "nobody loses": Tried(race, GO, "the saga is completed, but what parallel went on without still stands"),
    "pivot before losers are undone": Tried(race, GO, "bind is sent while others are under way"),
    "any number may fail": Tried(enough, GO, "the saga is completed, but parallel has no effect"),
    "undo of a loser unparked": Tried(
        race, GO, "nothing will ever wake the saga: it waits for ever", acts=frozenset({"cancel"})
    ),
    "scope left standing": Tried(scope, GO, "scope.c is begun while scope.a stands, which it is instead of"),
    "other way at once": Tried(scope, GO, "scope.c is begun while scope.a stands, which it is instead of"),
    "scope undone by its other way only": Tried(
        scope, GO, "the saga is compensated, but scope.a still stands", acts=frozenset({"cancel"})
    ),
    "scope catches a cancel": Tried(
        scope, GO, "a cancel before the pivot was sent did not turn the saga", acts=frozenset({"cancel"})
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", every_day(WITHOUT, list(WITHOUT)[::3], pytest.mark.nightly))
def test_without_a_rule_of_a_node_a_promise_breaks(name: str) -> None:
    tried = WITHOUT[name]
    replies = {Stocked.type_name: Stocked(on_shelf=5).to_json()}
    bounds = Bounds(acts=tried.acts)
    result = try_mutant(mutant(name), Exploration(tried.saga, bounds, start=tried.start.to_json(), replies=replies))
    assert result.report
    assert result.caught, result.lines()
    assert result.report.violation == tried.violation


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("saga", [race, enough, scope], ids=["race", "enough", "scope"])
def test_with_all_rules_every_interleaving_keeps_every_promise(saga: Saga[Any]) -> None:
    found = explore(saga, Bounds(Left(0, 0, 0), frozenset({"cancel", "retry"})), start=GO.to_json())
    assert found.complete, found.story
    assert {"completed", "compensated", "parked"} == set(found.ends)


def alone(name: str) -> Step:
    """One whose undo the saga goes on without, where that fails for good."""
    return replace(step(name), undo_exhausted="skip")


RACES = {
    "no pivot": going(Parallel(step("a"), step("b"), first=1)),
    "an undo that fails for good": going(Parallel(alone("a"), alone("b"), first=1)),
    "a branch": going(Parallel(Branch("way", alone("a"), alone("b")), alone("c"), first=1)),
}
TROUBLE = {"a duplicate": Left(1, 0, 0), "a crash": Left(0, 1, 0), "a retry": Left(0, 0, 1)}


@pytest.mark.cross
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("budgets", TROUBLE)
@pytest.mark.parametrize("name", RACES)
def test_trouble_breaks_nothing_of_a_race_without_a_pivot(name: str, budgets: str) -> None:
    found = explore(RACES[name], Bounds(TROUBLE[budgets], frozenset({"cancel"})), start=GO.to_json())
    assert found.complete, found.story


@pytest.mark.slow
def test_another_attempt_of_a_losers_undo_is_no_undo_before_its_time() -> None:
    """Its undo was sent when nothing newer stood; what has come to stand since then is no reason to stop it."""
    found = explore(RACES["an undo that fails for good"], Bounds(Left(1, 0, 0), NOBODY), start=GO.to_json())
    assert found.complete, found.story


def of(progress: Mapping[str, str], **lost: str) -> Instance:
    states = {path: NodeState(one, lost=path in lost.values()) for path, one in progress.items()}  # type: ignore[arg-type]
    return Instance("s", "{}", States(states))


def test_what_turned_for_itself_is_older_than_what_is_answered_behind_it_in_the_same_batch() -> None:
    outline = RACES["a branch"].outline
    before = of({"parallel.way.a": "sent", "parallel.c": "sent"})
    after = of({"parallel.way": "entered", "parallel.way.a": "in_doubt", "parallel.c": "ok"}, way="parallel.way")
    failed = Answered("1", CommandKey("s", "parallel.way.a", 1, "do"), 1, "failed", "")
    done = Answered("2", CommandKey("s", "parallel.c", 1, "do"), 1, "ok", "")
    loser, winner = frozenset({"parallel.way.a"}), frozenset({"parallel.c"})
    assert order(outline, (), before, after, [failed, done]) == (loser, winner)
    assert order(outline, (), before, after, [done, failed]) == (winner, loser)
    whole = of({"parallel.way.a": "in_doubt", "parallel.c": "ok"})
    assert order(outline, (), before, whole, [failed, done]) == (winner, loser)

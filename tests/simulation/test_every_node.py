"""Sagas with nodes in their nodes, through the real runtime in the simulated world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from choros.errors import UsageError
from choros_verify import PersonAct, Result, RunPlan, Scene, ScriptLine, campaign, plan_for, shrink
from choros_verify.simulation.report import failure
from choros_verify.simulation.script import StoreKind
from tests.every_day import every_day
from tests.simulation.every_node import app
from tests.simulation.planted import Plant
from tests.simulation.planted_in_composites import (
    PLANTS,
    a_failure_that_is_nobodys,
    a_saga_that_waits_for_its_losers,
    fewer_than_enough,
    losers_that_stay,
    one_retry_for_all,
)

CHOICES, RACES, LOOPS, TOURS = range(4)
NO_MUSIC = [ScriptLine(3, f"music.{who}", "do", "refused", code="none_left") for who in ("band", "choir")]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, own=["west"])


def plan(kind: int, *script: ScriptLine, **more: Any) -> RunPlan:
    return RunPlan(seed=1, sagas=(kind,), script=script, **more)


def told(saga: int) -> PersonAct:
    """The mayor agrees; else all of the races is undone."""
    return PersonAct(1.0, saga, "signal")


TWO_PARKED = plan(
    LOOPS,
    ScriptLine(0, "hands.stands[1].pick", "undo", "transient", 8),
    ScriptLine(0, "hands.crew.boss", "undo", "stuck"),
    ScriptLine(0, "party.ask", "do", "refused", code="no"),
    ScriptLine(0, "party.benches[0].seats[0].seat", "do", "refused", code="none_left"),
    acts=(PersonAct(5.0, 0, "skip", nth=1), PersonAct(5.1, 0, "retry", nth=0)),
)
"""Neither way to a party, and the hands are taken back side by side: two of these undos fail until they are parked."""


@pytest.mark.parametrize("kind", [CHOICES, RACES, LOOPS, TOURS])
@pytest.mark.parametrize("store", ["memory", "redis", "sqlite"])
def test_undisturbed_it_is_completed_on_every_store(scene: Scene, kind: int, store: StoreKind) -> None:
    result = scene.examine(plan(kind, store=store, acts=(told(0),) if kind == RACES else ()))
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 1})


def test_what_is_asked_twice_at_one_moment_are_two_acts(scene: Scene) -> None:
    """Campaign seed 248: the second was taken for the first, and the run for one that never came to its end."""
    result = scene.examine(plan(RACES, acts=(told(0), told(0))))
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 1})


@pytest.mark.long
def test_whatever_strikes_them_they_keep_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 41))
    assert ["\n".join(failure(result)) for result in tally.failures] == []
    assert {"completed", "compensated", "parked", "terminated"} <= set(tally.statuses)


@pytest.mark.nightly
@pytest.mark.parametrize("store", ["redis", "sqlite"])
def test_nor_do_they_on_stores_behind_their_adapters(store: StoreKind) -> None:
    tally = campaign(Scene(app, own=["west"], store=store), range(1, 41), workers=2)
    assert ["\n".join(failure(result)) for result in tally.failures] == []


# --- plans ------------------------------------------------------------------------------------------------------------


def test_every_saga_of_an_application_has_its_share(scene: Scene) -> None:
    drawn = [kind for seed in range(1, 100) for kind in plan_for(seed, scene.setting).sagas]
    assert min(drawn.count(kind) for kind in (CHOICES, RACES, LOOPS, TOURS)) > 20


def test_a_line_is_of_one_item_or_of_all(scene: Scene) -> None:
    one = ScriptLine(0, "stands[2].stand", "do", "refused", code="none_left")
    story = "\n".join(scene.examine(plan(CHOICES, one), story=True).story)
    assert "do stands[2].stand refused" in story and "stands[0].stand refused" not in story
    every = ScriptLine(0, "stands[].stand", "do", "transient")
    story = "\n".join(scene.examine(plan(CHOICES, every), story=True).story)
    assert all(f"do stands[{item}].stand failed" in story for item in range(3))


def test_a_line_of_what_is_not_there_is_refused(scene: Scene) -> None:
    with pytest.raises(UsageError, match=r"step 'stands\[2\].tent' is not known"):
        scene.examine(plan(CHOICES, ScriptLine(0, "stands[2].tent", "do", "slow")))
    with pytest.raises(UsageError, match="step 'permit' is not known"):
        scene.examine(plan(CHOICES, ScriptLine(0, "permit", "do", "slow")))


def test_of_several_parked_nodes_a_person_names_one(scene: Scene) -> None:
    result = scene.examine(TWO_PARKED, story=True)
    assert not result.violations
    done = [line for line in result.story if "client: skip" in line or "client: retry" in line]
    assert [line.partition("client: ")[2].split()[:2] for line in done] == [
        ["skip", "hands.crew.boss"], ["retry", "hands.stands[1].pick"]
    ], "\n".join(result.story)  # fmt: skip


@pytest.mark.long
def test_a_failing_run_of_several_sagas_is_made_smaller(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left out, each saga stays what it was: a line of the script speaks of a step that it has."""
    fewer_than_enough(monkeypatch)
    given = RunPlan(
        seed=1,
        starts=(0.0, 0.0, 0.0, 0.0),
        sagas=(CHOICES, LOOPS, CHOICES, RACES),
        script=(*NO_MUSIC,),
        acts=(told(3),),
    )
    small = shrink(scene, scene.examine(given)).plan
    assert (small.starts, small.sagas) == ((0.0,), (RACES,))
    assert {line.saga for line in small.script} == {0}


def test_where_it_is_not_said_which_sagas_they_are_nothing_changes_by_that(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    losers_that_stay(monkeypatch)
    small = shrink(scene, scene.examine(RunPlan(seed=1, starts=(0.0, 0.0, 0.0), acts=(told(1),)))).plan
    assert (small.starts, small.sagas) == ((0.0,), (RACES,))


# --- planted ----------------------------------------------------------------------------------------------------------


def refused(*steps: str, code: str = "none_left") -> list[ScriptLine]:
    return [ScriptLine(0, step, "do", "refused", code=code) for step in steps]


SHOWN_BY = {
    "losers_that_stay": plan(RACES),
    "losers_that_are_never_undone": plan(RACES),
    "a_saga_that_waits_for_its_losers": plan(
        RACES, ScriptLine(0, "place.near.ground", "undo", "slow", 18.0), acts=(PersonAct(5.0, 0, "cancel"),)
    ),
    "ways_back_that_overtake": plan(LOOPS, ScriptLine(0, "hands.stands[1].pick", "do", "stuck")),
    "fewer_than_enough": plan(RACES, *refused("music.choir"), ScriptLine(0, "music.theatre", "do", "stuck")),
    "a_scope_that_leaves_things_behind": plan(LOOPS, *refused("party.ask", code="no")),
    "facts_of_losers": plan(CHOICES, *refused("stands[0].stand")),
    "a_failure_that_is_nobodys": plan(RACES),
    "ended_with_open_keys": plan(LOOPS, acts=(PersonAct(3.383, 0, "terminate", nth=2),)),
    "dependencies_that_nobody_asks_for": plan(
        TOURS, *refused("sign", code="not_allowed"), ScriptLine(0, "museum", "undo", "slow", 18.0)
    ),
}
"""What shows each of them, small and fixed: which seeds come to it is another question with every node."""
FOUND = (losers_that_stay, a_failure_that_is_nobodys)
"""Those that any few seeds come to."""
MOST_SEEDS = 100
FEW = 5
"""Faults, lines of the script and acts that may be left in all."""


def first_failure(scene: Scene) -> Result:
    plans = (plan_for(seed, scene.setting) for seed in range(1, 1 + MOST_SEEDS))
    found = next((result for one in plans if (result := scene.examine(one)).violations), None)
    assert found is not None, f"not found in {MOST_SEEDS} runs"
    return found


@pytest.mark.long
def test_one_retry_that_counts_for_all_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    retried = replace(TWO_PARKED, acts=TWO_PARKED.acts[1:])
    assert scene.examine(retried).violations == ()
    one_retry_for_all(monkeypatch)
    assert any("waits for nothing" in sentence for sentence in scene.examine(retried).violations)


@pytest.mark.parametrize(
    "plant",
    every_day(
        PLANTS, [plant for plant in PLANTS if plant is not a_saga_that_waits_for_its_losers], pytest.mark.nightly
    ),
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_shows(scene: Scene, monkeypatch: pytest.MonkeyPatch, plant: Plant) -> None:
    shown_by = SHOWN_BY[plant.__name__]
    assert scene.examine(shown_by).violations == ()
    plant(monkeypatch)
    assert scene.examine(shown_by).violations


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    every_day(FOUND, [losers_that_stay]),
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_is_found_and_made_small(scene: Scene, monkeypatch: pytest.MonkeyPatch, plant: Plant) -> None:
    plant(monkeypatch)
    small = shrink(scene, first_failure(scene))
    left = [*small.plan.faults, *small.plan.script, *small.plan.acts]
    assert small.violations and len(left) <= FEW and len(small.plan.starts) == 1, left
    monkeypatch.undo()
    assert scene.examine(small.plan).violations == (), "the bug was not the planted one"

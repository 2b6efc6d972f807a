"""A second application on the same store and databases: each comes to its own ends, and neither sees the other."""

from __future__ import annotations

import pytest

from choros import App
from choros.errors import UsageError
from choros_verify import Fault, RunPlan, Scene, ScriptLine, plan_for
from choros_verify.simulation.report import failure
from choros_verify.simulation.stage import Troupe
from tests.simulation.trip import app

REFUSED = (ScriptLine(0, "hold_room", "do", "refused", code="no_room"),)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


@pytest.mark.parametrize("together", [False, True])
def test_both_applications_carry_out_their_own_sagas(scene: Scene, together: bool) -> None:
    world = scene.world(RunPlan(seed=1, script=REFUSED, starts=(0.0, 0.0), together=together, beside=True))
    try:
        assert world.run(scene.horizon)
        first, second = world.evidence()
    finally:
        world.end()
    assert [record.status for record in second.records.values()] == ["compensated"]
    assert sorted(record.status for record in first.records.values()) == ["compensated", "completed"]
    assert {effect.saga_id for effect in second.effects} == set(second.saga_ids)
    assert {effect.by.startswith("beside:") for effect in second.effects} == {True}
    assert set(first.records) == set(first.saga_ids) and second.saga_ids[0] not in first.saga_ids


def test_what_strikes_the_shared_store_strikes_both(scene: Scene) -> None:
    plan = RunPlan(seed=1, starts=(0.9,), beside=True, faults=(Fault("lose", "store", 3, 4.0),))
    result = scene.examine(plan, story=True)
    assert result.violations == () and result.statuses == {"completed": 2}
    assert sum("saga 0 v1: started" in line for line in result.story) == 4


def test_a_process_of_the_second_application_can_be_struck(scene: Scene) -> None:
    fault = Fault("crash", "beside:orchestrator-1", 30, 5.0)
    result = scene.examine(RunPlan(seed=1, beside=True, faults=(fault,)))
    assert result.violations == () and result.struck == {"crash": 1}
    with pytest.raises(UsageError, match="beside:orchestrator-1"):
        scene.examine(RunPlan(seed=1, faults=(fault,)))


def test_a_campaign_has_it_in_some_runs_and_strikes_there_too(scene: Scene) -> None:
    plans = [plan_for(seed, scene.setting) for seed in range(300)]
    beside = [plan for plan in plans if plan.beside]
    assert 15 < len(beside) < 75
    struck = [any(fault.target.startswith("beside:") for fault in plan.faults) for plan in plans]
    assert any(struck) and all(plan.beside for plan, one in zip(plans, struck, strict=True) if one)


def test_a_failure_says_that_it_was_there(scene: Scene) -> None:
    told = failure(scene.examine(RunPlan(seed=1, beside=True)))
    assert any("a second application beside it" in line for line in told)


def test_a_long_namespace_leaves_room_for_another() -> None:
    long = App("n" * 60, sagas=app.sagas.values(), services=app.services.values())
    other = Troupe(long).beside
    assert len(other.namespace) <= 60 and other.namespace != long.namespace

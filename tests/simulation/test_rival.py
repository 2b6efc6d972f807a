"""The same application on a second store: neither takes the other's replies, though they share broker and services."""

from __future__ import annotations

import pytest

from choros.runtime.orchestrator import return_address
from choros_verify import Fault, RunPlan, Scene, ScriptLine, plan_for
from choros_verify.simulation.report import failure
from tests.simulation.trip import app

REFUSED = (ScriptLine(0, "hold_room", "do", "refused", code="no_room"),)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


def test_both_stores_carry_their_own_sagas_out_by_the_same_services(scene: Scene) -> None:
    world = scene.world(RunPlan(seed=1, script=REFUSED, starts=(0.0, 0.0), rival=True))
    try:
        assert world.run(scene.horizon)
        first, second = world.evidence()
    finally:
        world.end()
    assert [record.status for record in second.records.values()] == ["compensated"]
    assert sorted(record.status for record in first.records.values()) == ["compensated", "completed"]
    assert {effect.saga_id for effect in second.effects} == set(second.saga_ids)
    assert {effect.by for effect in second.effects} <= {effect.by for effect in first.effects}
    assert first.replies != second.replies
    assert not set(first.saga_ids).intersection(second.saga_ids)


def test_what_strikes_the_queue_of_one_store_is_survived_by_both(scene: Scene) -> None:
    plan = RunPlan(seed=1, starts=(0.9,), rival=True, faults=(Fault("cancel", "travel.replies.travel.1", 1),))
    result = scene.examine(plan)
    assert result.violations == ()
    assert result.statuses == {"completed": 2}


def test_one_queue_for_both_is_caught(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was: the control of the invariant."""

    def shared(namespace: str, application: str, store: str) -> str:
        return f"{namespace}.replies.{application}"

    monkeypatch.setattr(return_address, "reply_queue", shared)
    found = [violation for seed in range(5) for violation in scene.examine(RunPlan(seed=seed, rival=True)).violations]
    assert any(violation.startswith("14: the reply for") for violation in found)


def test_a_campaign_has_it_in_some_runs(scene: Scene) -> None:
    plans = [plan_for(seed, scene.setting) for seed in range(300)]
    assert 8 < sum(plan.rival for plan in plans) < 50
    assert not any(plan.rival and plan.beside for plan in plans)


def test_a_failure_says_that_it_was_there(scene: Scene) -> None:
    assert any("a second store" in line for line in failure(scene.examine(RunPlan(seed=1, rival=True))))

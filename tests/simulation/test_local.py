"""Local steps in a simulated world: orchestrators carry them out, and lose what they have in hand with each crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from choros.runtime.orchestrator.transition import Envelopes
from choros.runtime.participant.answers import Answer
from choros.runtime.participant.execution import Execution
from choros.store.sagas import Unsent
from choros.values import replace
from choros_verify import Fault, RunPlan, Scene, ScriptLine, campaign, plan_for
from choros_verify.simulation.real_code import every_combination
from tests.simulation.register import app, registering

REFUSED = (ScriptLine(0, "ship_order", "do", "refused", code="no_such_address"),)
SEEDS = range(1, 61)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


def took_effect(story: Sequence[str]) -> list[str]:
    return [line.rpartition(" took effect: ")[2].split(":")[1] for line in story if "o took effect: " in line]


def test_it_is_carried_out_by_whoever_decides_and_undone_in_its_turn(scene: Scene) -> None:
    done = scene.examine(RunPlan(seed=1), story=True)
    assert (done.violations, dict(done.statuses)) == ((), {"completed": 1})
    undone = scene.examine(RunPlan(seed=1, script=REFUSED), story=True)
    assert (undone.violations, dict(undone.statuses)) == ((), {"compensated": 1})
    assert took_effect(undone.story) == ["record_order", "hold_stock", "hold_stock", "record_order"]
    assert not any("service:register" in line for line in done.story)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("script", [(), REFUSED], ids=["completed", "compensated"])
def test_wherever_its_orchestrator_crashes_it_has_its_effect_once(scene: Scene, script: Sequence[ScriptLine]) -> None:
    """At every third step that it makes."""
    ends = set()
    for step in range(10, 250, 3):
        crash = (Fault("crash", "orchestrator-1", step, 1.0),)
        run = scene.examine(RunPlan(seed=1, faults=crash, script=tuple(script)))
        assert (step, run.violations) == (step, ())
        ends.add(next(iter(run.statuses)))
    assert len(ends) == 1


@pytest.mark.nightly
def test_whatever_strikes_it_keeps_every_promise(scene: Scene) -> None:
    tally = campaign(scene, SEEDS)
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []
    assert tally.statuses["compensated"] > 5


@pytest.mark.nightly
def test_over_frames_and_real_adapters_too() -> None:
    tally = campaign(Scene(app, frames=True), range(1, 13))
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []


@pytest.mark.nightly
def test_every_pair_of_outcomes_ends_as_it_must() -> None:
    assert every_combination(app, registering, most=1).violations == []


# --- planted ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sent_to_the_broker_it_never_arrives(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    unsent = Envelopes.unsent

    def all_over_the_broker(self: Envelopes, *given: Any) -> tuple[Unsent, ...]:
        return tuple(
            replace(one, channel="commands") if one.channel == "local" else one for one in unsent(self, *given)
        )

    monkeypatch.setattr(Envelopes, "unsent", all_over_the_broker)
    assert any("5: " in one for one in scene.examine(RunPlan(seed=1, calm_at=1.0)).violations)


@pytest.mark.slow
def test_without_a_row_beside_its_effect_it_has_that_twice(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Execution._run

    async def rowless(self: Execution, received: Any, transaction: Any) -> Any:
        """The handler's answer, without a look at what is there or a word about it."""
        if "register" not in self.source or received.handler is None:
            return await run(self, received, transaction)
        outcome: Any = await self.outcome(received, transaction)
        return Answer(self._reply(received.envelope, outcome))

    monkeypatch.setattr(Execution, "_run", rowless)
    runs = (scene.examine(plan_for(seed, scene.setting)) for seed in SEEDS)
    assert any(one.startswith(("2: ", "3: ")) for run in runs for one in run.violations)

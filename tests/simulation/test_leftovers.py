"""Undos that fail for good and are skipped, in a simulated world: what is left standing is what the saga says."""

from __future__ import annotations

import pytest

from choros.saga.machine.instance import Leg
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Commanded
from choros_verify import RunPlan, Scene, ScriptLine, campaign
from tests.simulation.leftovers import app

REFUSED = ScriptLine(0, "ship", "do", "refused", code="no_such_address")
CLEARING = RunPlan(seed=1, sagas=(0,), script=(REFUSED, ScriptLine(0, "hold_stock", "undo", "stuck")))
RACING = RunPlan(seed=1, sagas=(1,), script=(
    REFUSED, ScriptLine(0, "race.hold_stock", "undo", "stuck"), ScriptLine(0, "race.spare", "undo", "stuck"),
))  # fmt: skip


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


@pytest.mark.parametrize(("plan", "stays"), [(CLEARING, "hold_stock"), (RACING, "race.")])
def test_what_is_left_standing_is_what_the_saga_says(scene: Scene, plan: RunPlan, stays: str) -> None:
    run = scene.examine(plan, story=True)
    assert (run.violations, dict(run.statuses)) == ((), {"compensated": 1})
    assert any("left_standing" in line and stays in line for line in run.story), run.story[-40:]


@pytest.mark.nightly
def test_whatever_strikes_it_keeps_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 41))
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []


def test_skipped_without_its_close_it_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo that is only slow is carried out after all, and the saga says that the step stands."""
    real = SagaWalk.give_up

    def at_once(self: SagaWalk, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
        if leaf.may_skip(leg.operation):
            self.leave_standing(leaf.path, code)
        else:
            real(self, leaf, leg, code, detail)

    monkeypatch.setattr(SagaWalk, "give_up", at_once)
    slow = (REFUSED, ScriptLine(0, "hold_stock", "undo", "slow", 30.0))
    found = scene.examine(RunPlan(seed=1, script=slow)).violations
    assert any("says that hold_stock stands" in sentence for sentence in found), found


def test_a_claim_of_a_clean_undo_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SagaWalk, "_is_left_standing", lambda self: False)
    found = scene.examine(CLEARING).violations
    assert any("has published withdrawn.v1" in sentence for sentence in found), found


def test_a_step_that_is_said_to_be_undone_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def undone(self: SagaWalk, path: str, why: str) -> None:
        self.change_node(path, progress="undone", leg=None)
        self.go_on()

    monkeypatch.setattr(SagaWalk, "leave_standing", undone)
    found = scene.examine(CLEARING).violations
    assert any(sentence.startswith("3:") for sentence in found), found

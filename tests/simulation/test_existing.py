"""What was there before a saga, in a simulated world: taken back once where the saga is undone, and else never."""

from __future__ import annotations

import pytest

from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import send_first
from choros.saga.nodes.existing import ExistingNode
from choros_verify import RunPlan, Scene, ScriptLine, campaign
from choros_verify.simulation.real_code import every_combination
from choros_verify.simulation.script import PersonAct
from tests.simulation.returns import app, fulfilment

REFUSED = (ScriptLine(0, "ship", "do", "refused", code="no_such_address"),)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


def test_it_is_taken_back_last_of_all_or_never(scene: Scene) -> None:
    undone = scene.examine(RunPlan(seed=1, script=REFUSED), story=True)
    assert (undone.violations, dict(undone.statuses)) == ((), {"compensated": 1})
    keys = [line.rpartition("o took effect: ")[2] for line in undone.story if "o took effect: " in line]  # do, undo
    effects = [key.split(":")[1] for key in keys]
    assert effects == ["ask_credit", "hold_stock", "hold_stock", "free_seat", "withdraw_order"]
    done = scene.examine(RunPlan(seed=1), story=True)
    assert (done.violations, dict(done.statuses)) == ((), {"completed": 1})
    assert not any("orders:" in line for line in done.story)


def test_run_again_it_is_taken_back_by_whoever_has_taken_it_over(scene: Scene) -> None:
    slow = ScriptLine(0, "hold_stock", "do", "slow", 5.0)
    again = PersonAct(20.0, 0, "rerun", 4)
    plan = RunPlan(seed=1, script=(*REFUSED, slow), acts=(PersonAct(3.0, 0, "terminate"), again))
    result = scene.examine(plan, story=True)
    assert (result.violations, dict(result.statuses)) == ((), {"terminated": 1, "compensated": 1})
    assert sum("do took effect" in line and "withdraw_order" in line for line in result.story) == 1


@pytest.mark.nightly
def test_whatever_strikes_it_keeps_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 61))
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []
    assert tally.statuses["compensated"] > 5


@pytest.mark.nightly
def test_every_pair_of_outcomes_ends_as_it_must() -> None:
    report = every_combination(app, fulfilment, most=1)
    assert report.violations == []
    assert report.statuses["compensated"] > 10


def test_undone_as_if_it_had_been_done_it_is_found_standing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_if(self: ExistingNode, turn: Turn) -> bool:
        state = turn.state(self.path)
        if state.progress == "ok" and not state.leg:
            send_first(turn, self, "undo", "{}")
        return state.progress != "ok"

    monkeypatch.setattr(ExistingNode, "backward", as_if)
    assert scene.examine(RunPlan(seed=1, script=REFUSED)).violations


def test_left_alone_it_is_found_standing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExistingNode, "backward", lambda self, turn: True)
    found = scene.examine(RunPlan(seed=1, script=REFUSED)).violations
    assert any("net effect of withdraw_order: 0" in sentence for sentence in found)


def test_undone_too_early_it_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(self: ExistingNode, turn: Turn) -> bool:
        if turn.state(self.path).progress == "pending":
            send_first(turn, self, "do", '{"order_id": "o"}')
            turn.change_node(self.path, progress="sent")
        return True

    monkeypatch.setattr(ExistingNode, "forward", at_once)
    assert scene.examine(RunPlan(seed=1)).violations

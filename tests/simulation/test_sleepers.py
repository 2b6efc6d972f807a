"""Sagas that sleep for months, in a world where clocks are put forward while all of them do."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from choros.messages import Failure
from choros.saga.machine.instance import NodeState
from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.sleep import SleepNode
from choros_verify import PersonAct, RunPlan, Scene, campaign
from choros_verify.simulation.script import StoreKind
from tests.simulation.sleepers import STARTS, app


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, starts=STARTS)


@pytest.mark.parametrize("store", get_args(StoreKind))
def test_years_pass_in_a_few_steps(scene: Scene, store: StoreKind) -> None:
    result = scene.examine(RunPlan(seed=1, starts=(0.0, 0.0), store=store))
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 2})
    assert result.steps < 20_000, "a step for each second would be thirty million"
    assert result.edges["step asleep -> ok"] == 6


def test_a_saga_is_cancelled_in_its_sleep_and_another_one_resumed_behind_it(scene: Scene) -> None:
    acts = (PersonAct(30.0, 0, "cancel"), PersonAct(30.0, 1, "pause"), PersonAct(60.0, 1, "resume"))
    result = scene.examine(RunPlan(seed=1, starts=(0.0, 0.0), acts=acts))
    assert (result.violations, dict(result.statuses)) == ((), {"compensated": 1, "completed": 1})
    assert result.edges["step asleep -> pending"] == 1


@pytest.mark.nightly
def test_whatever_strikes_them_they_keep_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 41))
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []
    assert tally.edges["step asleep -> pending"] > 0


# --- planted ----------------------------------------------------------------------------------------------------------


def a_timer_that_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NodeState, "due", property(lambda self: self.leg and self.leg.due))


def a_moment_decided_anew(patch: pytest.MonkeyPatch) -> None:
    forward = SleepNode.forward

    def anew(self: SleepNode, turn: Turn) -> bool:
        if turn.state(self.path).progress == "asleep":
            turn.change_node(self.path, progress="pending", until=None)
        return forward(self, turn)

    patch.setattr(SleepNode, "forward", anew)


def a_sleep_that_is_cut_short(patch: pytest.MonkeyPatch) -> None:
    wake = Turn.wake

    def early(self: Turn, path: str) -> bool:
        if self.instance.state(path).until:
            self.change_node(path, until=self.now)
        return wake(self, path)

    patch.setattr(Turn, "wake", early)


def a_cancel_that_lets_it_sleep(patch: pytest.MonkeyPatch) -> None:
    turn_back = SagaWalk.turn_back

    def sleepless(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
        asleep = [(path, state.until) for path, state in self.states() if state.until]
        turn_back(self, failure, refusal)
        for path, until in asleep:
            self.change_node(path, progress="asleep", until=until)

    patch.setattr(SagaWalk, "turn_back", sleepless)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        pytest.param(a_timer_that_is_lost, "waits for nothing", marks=pytest.mark.slow),
        (a_moment_decided_anew, "until another moment than was decided"),
        (a_sleep_that_is_cut_short, "slept too short"),
        (a_cancel_that_lets_it_sleep, "is undone, and still sleeps"),
    ],
)
def test_a_planted_bug_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], words: str
) -> None:
    plant(monkeypatch)
    acts = (PersonAct(30.0, 0, "pause"), PersonAct(31.0, 0, "resume"), PersonAct(32.0, 1, "cancel"))
    result = scene.examine(RunPlan(seed=1, starts=(0.0, 0.0), acts=acts))
    assert any(words in sentence for sentence in result.violations), result.violations

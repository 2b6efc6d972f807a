"""Sagas that go on as another version which calls their steps otherwise, and that are run again, in random plans."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from choros.runtime.client import rerun
from choros.runtime.orchestrator import transition
from choros.saga.machine.inputs import Decision
from choros.saga.machine.rerun import kept_by
from choros_verify import RunPlan, Scene, plan_for
from choros_verify.simulation.campaign import Tally
from choros_verify.simulation.releases import run_again_sometimes
from choros_verify.simulation.script import PersonAct, ScriptLine
from tests.simulation import trip
from tests.simulation.planted import Plant
from tests.simulation.two_releases import app
from tests.simulation.two_releases import trip as trip_saga

SLOWLY_PAID = ScriptLine(0, "booked.pay", "do", "slow", 5.0)
MOVED = RunPlan(
    seed=1,
    sagas=(0,),
    script=(ScriptLine(0, "confirm", "do", "refused", code="too_late"), SLOWLY_PAID),
    acts=(PersonAct(2.0, 0, "move"),),
)
"""It goes on as version 2 while it is being paid for, and is refused at its pivot."""
AGAIN = RunPlan(
    seed=1,
    sagas=(0,),
    script=(ScriptLine(0, "insure", "do", "stuck"),),
    acts=(PersonAct(4.0, 0, "move"), PersonAct(6.0, 0, "terminate"), PersonAct(30.0, 0, "rerun", 1)),
)
"""It is ended as it is once all is booked, and run again from what was not done, which fails for good then."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, store="memory")


def keys_of_now(patch: pytest.MonkeyPatch) -> None:
    """What is renamed is called so on the wire, too."""
    patch.setattr(transition.Envelopes, "unsent", _unsent_as_if_never_renamed(transition.Envelopes.unsent))


def _unsent_as_if_never_renamed(unsent: Callable[..., object]) -> Callable[..., object]:
    def sent(self: object, record: object, decision: Decision, now: float) -> object:
        instance = replace(decision.instance, renamed=())
        return unsent(self, record, replace(decision, instance=instance), now)

    return sent


def effects_of_nobody(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes over what another saga has done looks for it under its own id."""
    patch.setattr(rerun, "kept_by", lambda *of: {path: replace(one, owner="") for path, one in kept_by(*of).items()})


def names_left_behind(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes over what another saga has done knows nothing of what that was called before."""
    start = rerun._start
    patch.setattr(rerun, "_start", lambda *asked: replace(start(*asked), renamed=()))


FOUND: dict[Plant, RunPlan] = {keys_of_now: MOVED, effects_of_nobody: AGAIN, names_left_behind: AGAIN}
"""What finds it."""


def test_what_is_moved_is_undone_by_the_names_of_before(scene: Scene) -> None:
    result = scene.examine(MOVED, story=True)
    assert (result.violations, dict(result.acts), dict(result.statuses)) == ((), {"move moved": 1}, {"compensated": 1})
    assert any("undo took effect: saga 0:booked.stay[1].night:1:undo" in line for line in result.story)


def test_what_is_run_again_takes_over_what_stands_and_undoes_it(scene: Scene) -> None:
    result = scene.examine(AGAIN, story=True)
    assert result.violations == ()
    assert dict(result.acts) == {"move moved": 1, "terminate terminating": 1, "rerun again": 1}
    assert dict(result.statuses) == {"terminated": 1, "compensated": 1}
    assert any("undo took effect" in line and "booked.pay:1:undo" in line for line in result.story)


def test_a_fact_that_was_held_when_it_was_ended_is_told_when_it_is_run_again() -> None:
    slow = ScriptLine(0, "take_money", "do", "slow", 5.0)
    acts = PersonAct(4.0, 0, "terminate"), PersonAct(20.0, 0, "rerun", 3)
    result = Scene(trip.app, store="memory").examine(
        RunPlan(seed=1, starts=(2.0,), script=(slow,), acts=acts), story=True
    )
    assert (result.violations, dict(result.statuses)) == ((), {"terminated": 1, "completed": 1})
    assert any("room_taken fact_dropped" in line for line in result.story)


@pytest.mark.parametrize("plant", FOUND, ids=lambda plant: plant.__name__)
def test_these_acts_find_what_nothing_else_does(scene: Scene, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    plan = FOUND[plant]
    assert scene.examine(plan).violations
    without = replace(plan, acts=tuple(act for act in plan.acts if act.verb not in ("move", "rerun")))
    assert scene.examine(without).violations == ()


@pytest.mark.long
@pytest.mark.slow
def test_random_plans_have_them_and_say_how_many(scene: Scene) -> None:
    tally = Tally()
    for seed in range(12):
        tally.add(scene.examine(plan_for(seed, scene.setting)))
    assert tally.failures == []
    assert tally.acts["move moved"] and tally.acts["rerun again"]
    assert not {"move moved", "rerun again"} & set(tally.missing(scene))
    assert {"move moved", "rerun again"} <= set(Tally().missing(scene))


def test_a_campaign_is_to_have_heard_of_both_where_there_are_sagas_and_newer_ones() -> None:
    assert run_again_sometimes(app, []) == []
    assert run_again_sometimes(app, [trip_saga(1)]) == ["rerun again", "move moved"]
    assert run_again_sometimes(app, [app.sagas["trip", 2]]) == ["rerun again"]

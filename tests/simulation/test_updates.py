"""Updates in the simulation: asked beside every fault, through the real runtime; and whoever judges a run notices what
is not right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from choros.runtime.orchestrator.updates import answer_entries
from choros.saga.machine import updates
from choros.saga.machine.inputs import UpdateAnswer, UpdateRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.walk import SagaWalk
from choros.store.sagas import Transition
from choros_verify import PersonAct, RunPlan, Scene, campaign
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.report import failure
from choros_verify.simulation.script import StoreKind
from choros_verify.simulation.update_invariants import update_violations
from tests.runtime.test_updates import app_of
from tests.saga.delivery import Order, delivery
from tests.simulation.test_signals import BLANK

ASKED = (PersonAct(0.01, 0, "update"), PersonAct(0.02, 0, "update", 1), PersonAct(60.0, 0, "update", 1))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app_of(delivery), starts=[(delivery, Order())])


def test_it_is_asked_early_and_late_and_the_orchestrator_dies_over_it(scene: Scene) -> None:
    died = Fault("crash", "client", 2)
    result = scene.examine(RunPlan(seed=1, acts=ASKED, faults=(died,)), story=True)
    assert result.violations == ()
    said = [line.partition("client: ")[2] for line in result.story if "client: update" in line]
    assert said[0] == 'update saga 0 at 0.01 s: accepted: {"extra":0}'
    assert said[-1].endswith("refused: too_late")


@pytest.mark.long
@pytest.mark.parametrize("store", ["memory", pytest.param("redis", marks=pytest.mark.nightly), "sqlite"])
def test_whatever_strikes_it_every_answer_holds_on_every_store(scene: Scene, store: StoreKind) -> None:
    on_this = Scene(app_of(delivery), starts=[(delivery, Order())], store=store)
    tally = campaign(on_this, range(1, 25))
    assert ["\n".join(failure(result)) for result in tally.failures] == []


# --- what must not be is noticed --------------------------------------------------------------------------------------


def judged(*commits: tuple[Instance, Sequence[UpdateAnswer]]) -> list[str]:
    made = [
        Transition(replace(BLANK, state=state.dumps()), entries=dict(answer_entries(answers)))
        for state, answers in commits
    ]
    run: Any = SimpleNamespace(
        commits=[SimpleNamespace(transition=one) for one in made], were=lambda *kinds: False, name=lambda _: "saga 0"
    )
    return list(update_violations(run))


def saga(count: int, **updated: str) -> Instance:
    return Instance("s", "{}", updates=count, updated=tuple(updated.items()))


YES, NO = UpdateAnswer("u1", "change", "{}"), UpdateAnswer("u2", "change", "{}", refused=True)


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ([(saga(1), [YES])], "has accepted change and not kept it."),
        ([(saga(1, change="{}"), [YES]), (saga(1), [])], "has another change, and told nobody."),
        ([(saga(1, change="{}"), [NO])], "has another change, and told nobody."),
        ([(saga(2, change="{}"), [YES])], "counts 2 updates, and has kept 1 answers."),
        ([(saga(1, change="{}"), [YES]), (saga(1, change="{}"), [YES])], "has answered answer:u1 twice."),
    ],
)
def test_what_must_not_be_is_noticed(commits: Any, said: str) -> None:
    assert judged(*commits) == [f"27: saga 0 {said}"]


def test_what_is_as_it_should_be_is_not() -> None:
    assert judged((saga(1, change="{}"), [YES]), (saga(2, change="{}"), [NO]), (saga(2, change="{}"), [])) == []
    assert judged((saga(0), []), (saga(0), [])) == []


def test_an_update_that_is_answered_and_not_kept_is_caught_in_a_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = updates.take_update

    def forgetful(walk: SagaWalk, asked: UpdateRequested) -> None:
        before = walk.instance.updated
        real(walk, asked)
        walk.change(updated=before)

    monkeypatch.setattr("choros.saga.machine.machine.take_update", forgetful)
    result = scene.examine(RunPlan(seed=1, acts=ASKED[:1]))
    assert result.violations == ("27: saga 0 has accepted change-address and not kept it.",)

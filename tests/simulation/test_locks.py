"""Sagas under locks, in a world where processes die and stores do not answer: none takes what another one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import pytest

from choros import Lock
from choros.messages import Message
from choros.runtime.orchestrator import lock_rows
from choros.saga.machine import machine
from choros.saga.machine.walk import SagaWalk
from choros.store.sagas import ENDED, Record
from choros_verify import RunPlan, Scene, campaign
from choros_verify.simulation.script import ScriptLine, StoreKind
from tests.simulation.locked import STARTS, app

Plant = Callable[[pytest.MonkeyPatch], None]
REAL = [kind for kind in get_args(StoreKind) if kind != "memory"]
AT_ONCE = RunPlan(seed=1, starts=(0.0,) * 4)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, starts=STARTS)


@pytest.mark.parametrize("store", ["memory", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in REAL)])
def test_one_after_the_other(scene: Scene, store: StoreKind) -> None:
    result = scene.examine(RunPlan(seed=1, starts=(0.0,) * 4, store=store))
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 4})


@pytest.mark.nightly
def test_whatever_strikes_them_they_keep_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 61))
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []


# --- planted ----------------------------------------------------------------------------------------------------------


def over_if(patch: pytest.MonkeyPatch, *statuses: str) -> None:
    """A saga that is no more than this counts as over."""

    def over(record: Record) -> bool:
        return record.gone or record.status in (*ENDED, *statuses)

    patch.setattr(lock_rows, "_is_over", over)


def free_while_it_is_undone(patch: pytest.MonkeyPatch) -> None:
    over_if(patch, "compensating")


def free_when_it_is_parked(patch: pytest.MonkeyPatch) -> None:
    over_if(patch, "parked")


def taken_in_the_order_written(patch: pytest.MonkeyPatch) -> None:
    def keys_of(self: Lock, start: Message) -> tuple[str, ...]:
        return tuple(cast("tuple[str, ...]", self.key(start)))

    patch.setattr(Lock, "keys_of", keys_of)


def begun_before_it_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SagaWalk, "_is_called_off", True)


def a_bound_that_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "lock_due", lambda walk: None)


REFUSED = RunPlan(
    seed=1,
    starts=(0.0, 0.0, 8.0),
    script=(
        ScriptLine(0, "put_in", "do", "refused", code="no_such_account"),
        ScriptLine(0, "take_out", "undo", "transient", amount=4),
    ),
)
PARKED = RunPlan(seed=1, starts=(0.0, 0.0, 400.0), script=(ScriptLine(0, "report", "do", "stuck"),))


@pytest.mark.parametrize(
    ("plant", "plan", "words"),
    [
        (free_while_it_is_undone, REFUSED, "and so has"),
        pytest.param(free_when_it_is_parked, PARKED, "and so has", marks=pytest.mark.nightly),
        pytest.param(
            taken_in_the_order_written, AT_ONCE, "waits for a saga that waits for it", marks=pytest.mark.nightly
        ),
        (begun_before_it_is_taken, AT_ONCE, "before it has its lock"),
        pytest.param(a_bound_that_is_ignored, PARKED, "is still running", marks=pytest.mark.nightly),
    ],
)
def test_a_planted_bug_is_found(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    plan: RunPlan,
    words: str,
) -> None:
    assert scene.examine(plan).violations == ()
    plant(monkeypatch)
    found: Any = scene.examine(plan).violations
    assert any(words in sentence for sentence in found), found

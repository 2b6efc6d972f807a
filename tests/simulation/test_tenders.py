"""Locks, updates and what is finished later, in the simulated world, in an application of every kind of node: each
takes effect once; and whoever judges a run notices where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from choros.errors import UsageError
from choros.runtime.orchestrator import lock_rows
from choros.runtime.participant import verdicts
from choros.runtime.participant.unfinished import Effect, Unfinished, Word
from choros.runtime.participant.verdicts import Matter
from choros.saga.machine import machine, updates
from choros.saga.machine.inputs import UpdateRequested
from choros.saga.machine.walk import SagaWalk
from choros.store.barrier import Row, Transaction
from choros.store.sagas import ENDED, Record
from choros_verify import PersonAct, RunPlan, Scene, ScriptLine
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.plans_of_signals import more_later, more_updates
from choros_verify.simulation.script import StoreKind
from tests.every_day import every_day
from tests.simulation.every_node import app
from tests.simulation.planted import Plant

TENDERS = 4
ASKED = (PersonAct(1.0, 0, "update"), PersonAct(1.0, 0, "update", 1), PersonAct(90.0, 0, "update"))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, own=["west"])


def later(step: str, seconds: float, code: str = "") -> ScriptLine:
    return ScriptLine(0, step, "do", "later", seconds, code)


def plan(*script: ScriptLine, sagas: int = 1, **more: Any) -> RunPlan:
    return RunPlan(seed=1, starts=(0.0,) * sagas, sagas=(TENDERS,) * sagas, script=script, **more)


ALL_OF_IT = plan(later("permit", 4.0), later("papers.noise", 2.0, "failed"), later("file", 9.0), sagas=2, acts=ASKED)


@pytest.mark.parametrize("store", every_day(["memory", "redis", "sqlite"], ["memory"]))
@pytest.mark.parametrize("frames", [False, pytest.param(True, marks=pytest.mark.long)])
def test_undisturbed_each_takes_effect_once_on_port_and_frames(scene: Scene, store: StoreKind, frames: bool) -> None:
    result = scene.examine(replace(ALL_OF_IT, store=store, frames=frames))
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 2})
    assert result.acts == {"finish finished": 4, "update accepted": 1, "update refused": 2}
    assert (result.edges["lock waited for"], result.edges["lock taken"]) == (1, 2)


def test_what_is_refused_later_is_undone_by_the_rest(scene: Scene) -> None:
    result = scene.examine(plan(later("papers.noise", 2.0, "not_allowed")))
    assert (result.violations, dict(result.statuses), dict(result.acts)) == (
        (), {"compensated": 1}, {"finish finished": 1}
    )  # fmt: skip


def test_what_comes_behind_its_bound_comes_too_late(scene: Scene) -> None:
    result = scene.examine(plan(later("papers.noise", 40.0)))
    assert (result.violations, dict(result.statuses), dict(result.acts)) == (
        (), {"compensated": 1}, {"finish too late": 1}
    )  # fmt: skip


def test_who_is_told_may_die_over_it_and_it_is_finished_once(scene: Scene) -> None:
    """It dies as its commit is there, and nobody has heard."""
    unheard = Fault("unknown", "registry database", 2)
    result = scene.examine(plan(later("permit", 4.0), faults=(unheard, Fault("crash", "outside:registry", 4))))
    assert (result.violations, dict(result.statuses), sum(result.acts.values())) == ((), {"completed": 1}, 1)


def test_every_campaign_has_its_share_of_them(scene: Scene) -> None:
    plans = [replace(plan(), seed=seed) for seed in range(1, 100)]
    lines = [line for one in plans for line in more_later(one, scene.setting)]
    assert {line.step for line in lines} == {"permit", "papers.noise", "file"}
    assert {line.code for line in lines} == {"", "failed", "not_allowed"}
    assert len(lines) > 150 and sum(len(list(more_updates(one, scene.setting))) for one in plans) > 100


def test_a_line_of_what_is_never_finished_later_is_refused(scene: Scene) -> None:
    with pytest.raises(UsageError, match="it is never finished later"):
        scene.examine(plan(later("papers.stand", 1.0)))
    with pytest.raises(UsageError, match="code 'lost' is not known"):
        scene.examine(plan(later("permit", 1.0, "lost")))


# --- planted ----------------------------------------------------------------------------------------------------------


def finished_after_its_undo(patch: pytest.MonkeyPatch) -> None:
    """An undo says that there is nothing to undo, and leaves what was taken to be finished."""
    buried = verdicts.buried

    def open_still(matter: Matter) -> tuple[Row, ...]:
        return () if matter.done is not None and matter.done.state == "unfinished" else buried(matter)

    patch.setattr(verdicts, "buried", open_still)


def finished_twice(patch: pytest.MonkeyPatch) -> None:
    """Whoever says it again is not told that it was said, and what comes with it is done again."""
    real = Unfinished._job

    async def again(self: Unfinished, token: str, said: Any, effect: Effect | None, transaction: Transaction) -> Word:
        word = await real(self, token, said, effect, transaction)
        if word == "repeated" and effect:
            await effect(transaction)
        return "finished"

    patch.setattr(Unfinished, "_job", again)


def updates_that_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    """It is answered, and what was accepted is forgotten."""
    real = updates.take_update

    def forgetful(walk: SagaWalk, asked: UpdateRequested) -> None:
        before = walk.instance.updated
        real(walk, asked)
        walk.change(updated=before)

    patch.setattr(machine, "take_update", forgetful)


def a_lock_that_is_free_while_its_saga_is_undone(patch: pytest.MonkeyPatch) -> None:
    def over(record: Record) -> bool:
        return record.gone or record.status in (*ENDED, "compensating")

    patch.setattr(lock_rows, "_is_over", over)


def sagas_that_begin_without_their_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SagaWalk, "_is_called_off", True)


UNDONE = plan(
    ScriptLine(0, "papers.stand", "do", "refused", code="none_left"), ScriptLine(0, "permit", "undo", "transient", 3),
    sagas=2,
)  # fmt: skip
SHOWN_BY: dict[Plant, tuple[RunPlan, str]] = {
    finished_after_its_undo: (
        plan(later("papers.noise", 40.0)),
        "3: saga 0 is compensated; net effect of",
    ),
    finished_twice: (plan(later("permit", 4.0)), "75: permit of saga 0 was finished, and said again finished"),
    updates_that_are_not_kept: (
        plan(later("permit", 4.0), acts=ASKED[:1]),
        "27: saga 0 has accepted paint",
    ),
    a_lock_that_is_free_while_its_saga_is_undone: (UNDONE, "46: "),
    sagas_that_begin_without_their_lock: (plan(sagas=2), "46: "),
}
"""What shows each of them, and how that is said."""


@pytest.mark.parametrize("plant", SHOWN_BY, ids=lambda plant: plant.__name__)
def test_a_planted_bug_shows_and_nothing_else_finds_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    shown_by, words = SHOWN_BY[plant]
    assert scene.examine(shown_by).violations == ()
    plant(monkeypatch)
    found = scene.examine(shown_by).violations
    assert any(sentence.startswith(words) for sentence in found), found

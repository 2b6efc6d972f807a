"""A saga nested in another one, through the real runtime in the simulated world: killed, cut off, cancelled, lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from choros.messages import NothingToUndo
from choros.saga.machine import nested
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes import Nested, Pivot
from choros_verify import PersonAct, RunPlan, Scene, ScriptLine, campaign
from choros_verify.simulation.report import failure
from choros_verify.simulation.script import StoreKind
from tests.runtime.test_nested import make_app
from tests.saga import credit as c

SOON = timedelta(seconds=30)
AWAITED, PIVOT = range(2)
credit = Nested(c.credit_saga, c.reserve_credit, timeout=SOON)
final_credit = Nested(c.final_credit_saga, c.reserve_credit, timeout=SOON, name="credit")
order_saga = c.order_of(c.HELD, credit, Pivot(c.ship, to="lorries"))
final_saga = c.named_order("final-order", c.HELD, final_credit)


@pytest.fixture(scope="module")
def scene() -> Scene:
    app = make_app(order_saga, final_saga, c.credit_saga, c.final_credit_saga)
    return Scene(app, starts=[(order_saga, c.PlaceOrder()), (final_saga, c.PlaceOrder())])


def plan(kind: int, *script: ScriptLine, **more: Any) -> RunPlan:
    return RunPlan(seed=1, sagas=(kind,), script=script, **more)


@pytest.mark.parametrize("kind", [AWAITED, PIVOT])
@pytest.mark.parametrize("store", ["memory", "redis", "sqlite"])
def test_undisturbed_both_are_completed_on_every_store(scene: Scene, kind: int, store: StoreKind) -> None:
    result = scene.examine(plan(kind, store=store))
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 2})


@pytest.mark.parametrize("frames", [False, True], ids=["on the port", "on frames"])
def test_cancelled_while_it_runs_both_are_undone(scene: Scene, frames: bool) -> None:
    result = scene.examine(plan(AWAITED, acts=(PersonAct(0.9, 0, "cancel"),), frames=frames))
    assert result.violations == ()


@pytest.mark.nightly
def test_whatever_strikes_them_they_keep_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 61))
    assert ["\n".join(failure(result)) for result in tally.failures] == []
    assert {"completed", "compensated", "parked"} <= set(tally.statuses)


@contextmanager
def planted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, instead: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, instead)
        yield


def never_released(self: SagaWalk, *, ended: bool) -> bool:
    return False


def test_one_that_is_never_released_is_missed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with planted(monkeypatch, SagaWalk, "_release", never_released):
        found = scene.examine(plan(AWAITED)).violations
    assert any("was never released" in one for one in found), found


@pytest.mark.long
def test_one_that_is_not_undone_is_missed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers that it is undone, and does nothing."""
    refused = ScriptLine(0, "ship", "do", "refused", code="no_lorry")
    assert scene.examine(plan(AWAITED, refused)).violations == ()
    real = nested._reply

    def undone(outline: Any, instance: Any, order: Any) -> Any:
        if order.operation == "undo":
            return nested._ok(order, NothingToUndo(), "undo")
        return real(outline, instance, order)

    with (
        planted(monkeypatch, nested, "_reply", undone),
        planted(monkeypatch, nested, "_obey", lambda walk, order: False),
    ):
        found = scene.examine(plan(AWAITED, refused)).violations
    assert found

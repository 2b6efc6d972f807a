"""Runs on the adapters find what is broken in them, soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from choros_verify import RunPlan, Scene, plan_for
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.script import StoreKind
from tests.simulation.planted import Plant
from tests.simulation.planted_in_adapters import IN_REDIS, IN_SQLITE
from tests.simulation.trip import app

MOST_SEEDS = 40
"""Of the 240 and 480 that CI runs on each."""


def _struck(plan: RunPlan, scene: Scene, store: StoreKind) -> RunPlan:
    """Plans let a commit of a service's file fail in one run of thirty, and mostly nothing hangs on that one."""
    refused = [Fault("refuse", one, 1 + plan.seed % 12) for one in scene.setting.databases if store == "sqlite"]
    return replace(plan, faults=(*plan.faults, *refused))


@pytest.fixture(scope="module")
def scenes() -> dict[StoreKind, Scene]:
    return {"redis": Scene(app, store="redis"), "sqlite": Scene(app, store="sqlite")}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("store", "plant"),
    [*(("redis", plant) for plant in IN_REDIS), *(("sqlite", plant) for plant in IN_SQLITE)],
    ids=lambda given: given if isinstance(given, str) else given.__name__,
)
def test_a_bug_that_is_planted_into_an_adapter_is_found(
    scenes: dict[StoreKind, Scene], store: StoreKind, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    scene = scenes[store]
    plans = (_struck(plan_for(seed, scene.setting), scene, store) for seed in range(1, MOST_SEEDS + 1))
    found = next((plan for plan in plans if scene.examine(plan).violations), None)
    assert found is not None, f"not found in {MOST_SEEDS} runs"
    monkeypatch.undo()
    assert scene.examine(found).violations == (), "the bug was not the planted one"

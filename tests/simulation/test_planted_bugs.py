"""The simulation finds what is broken: each planted bug within so many seeds, and with little around it."""

from __future__ import annotations

import pytest

from choros_verify import Result, Scene, plan_for, shrink
from tests.simulation.planted import PLANTS, Plant
from tests.simulation.trip import app

MOST_SEEDS = 100
FROM = {"no_tombstone": 80, "facts_that_overtake": 210, "a_late_answer_counts": 145, "a_database_without_scopes": 180}
"""The first seed to try, where it is known that the ones before find nothing: that only saves time."""
FEW = 4
"""Faults, lines of the script and acts that may be left in all."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


def first_failure(scene: Scene, start: int) -> Result:
    plans = (plan_for(seed, scene.setting) for seed in range(start, start + MOST_SEEDS))
    found = next((result for plan in plans if (result := scene.examine(plan)).violations), None)
    assert found is not None, f"not found in {MOST_SEEDS} runs"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found_and_shrunk(scene: Scene, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    result = first_failure(scene, FROM.get(plant.__name__, 1))
    small = shrink(scene, result)
    left = [*small.plan.faults, *small.plan.script, *small.plan.acts]
    assert small.violations and len(left) <= FEW, left
    monkeypatch.undo()
    assert scene.examine(small.plan).violations == (), "the bug was not the planted one"

"""What the simulation has found in the real runtime: each once, as small as it could be made, and now in order."""

from __future__ import annotations

import pytest

from choros_verify import Fault, RunPlan, Scene
from tests.simulation.trip import app

FOUND = {
    "facts out of order where one orchestrator's clock is ahead": RunPlan(
        seed=0, orchestrators=3, starts=(0.5,), faults=(Fault("jump", "orchestrator-1", 0, 2.0),)
    ),
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


@pytest.mark.parametrize("name", FOUND)
def test_found_and_mended(scene: Scene, name: str) -> None:
    assert scene.examine(FOUND[name]).violations == ()

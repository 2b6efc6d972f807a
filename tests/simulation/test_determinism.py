"""Same seed, same trace: in one process, and in two whose hashes differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from choros_verify import Scene, plan_for
from choros_verify.simulation.scene import SHARES
from choros_verify.simulation.script import StoreKind
from tests.simulation.trip import app

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 25)
SEEDS_ON_FRAMES = range(1, 5)
ON_ADAPTERS = range(1, 4)
"""They take longer."""
DIGESTS = f"""
from choros_verify import Scene, plan_for
from choros_verify.simulation.scene import SHARES
from tests.simulation.trip import app
scenes = [(Scene(app), {SEEDS}), (Scene(app, frames=True), {SEEDS_ON_FRAMES})]
scenes += [(Scene(app, store=store), {ON_ADAPTERS}) for store in SHARES if store != "memory"]
for scene, seeds in scenes:
    for seed in seeds:
        print(scene.examine(plan_for(seed, scene.setting), story=True).digest)
"""


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


def digests(hash_seed: str) -> list[str]:
    """The traces as another process makes them."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_same_plan_gives_the_same_run(scene: Scene) -> None:
    plans = [plan_for(seed, scene.setting) for seed in SEEDS]
    first = [scene.examine(plan, story=True) for plan in plans]
    again = [scene.examine(plan, story=True) for plan in plans]
    assert [run.story for run in first] == [run.story for run in again]
    assert [run.digest for run in first] == [run.digest for run in again]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("store", sorted(set(SHARES) - {"memory"}))
def test_the_same_plan_gives_the_same_run_on_adapters(store: StoreKind) -> None:
    scene = Scene(app, store=store)
    plans = [plan_for(seed, scene.setting) for seed in ON_ADAPTERS]
    first, again = ([scene.examine(plan, story=True).digest for plan in plans] for _ in range(2))
    assert first == again


@pytest.mark.long
def test_another_seed_gives_another_run(scene: Scene) -> None:
    assert len({scene.examine(plan_for(seed, scene.setting), story=True).digest for seed in SEEDS}) == len(SEEDS)


@pytest.mark.nightly
def test_the_hash_seed_changes_nothing() -> None:
    here = digests("1")
    assert len(here) == len(SEEDS) + len(SEEDS_ON_FRAMES) + (len(SHARES) - 1) * len(ON_ADAPTERS)
    assert digests("4242") == here

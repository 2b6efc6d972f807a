"""A short campaign in every test run: no promise is broken. The long one is a command: `choros sim run`."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Sequence

import pytest

from choros_verify import RunPlan, Scene, campaign, plan_for
from choros_verify.simulation.campaign import CHUNK, Tally, sometimes
from choros_verify.simulation.report import as_data, failed, failure, summary
from tests.simulation.trip import app


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


def test_a_few_seeds_break_no_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 61))
    assert [failure(result) for result in tally.failures] == []
    assert tally.runs == 60 and sum(tally.statuses.values()) > 60


@pytest.mark.long
@pytest.mark.slow
def test_nor_where_the_ids_of_almost_all_inputs_lie_beside_their_record(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No saga of theirs is long enough for that otherwise."""
    monkeypatch.setattr("choros.runtime.orchestrator.received.MOST_KEPT", 1)
    tally = campaign(scene, range(1, 31))
    assert [failure(result) for result in tally.failures] == []


@pytest.mark.nightly
def test_three_hundred_seeds_break_no_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1001, 1301), workers=2)
    assert ["\n".join(failure(result)) for result in tally.failures] == []
    assert len(tally.struck) > 15 and not failed(tally, scene)


@pytest.mark.long
def test_several_workers_come_to_the_same(scene: Scene) -> None:
    alone, together = campaign(scene, range(1, 61)), campaign(scene, range(1, 61), workers=2)
    assert alone == together


def test_the_seeds_order_decides_not_the_workers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of floats depend on the order: 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1."""
    overtaken = multiprocessing.get_context("fork").Event()

    def examine(_scene: Scene, seeds: Sequence[int]) -> Tally:
        assert seeds[0] != 0 or overtaken.wait(30)
        overtaken.set()
        return Tally(len(seeds), seconds=float(seeds[0]))

    monkeypatch.setattr(sys.modules[Tally.__module__], "_examine", examine)
    seen: list[float] = []
    campaign(scene, range(4 * CHUNK), workers=2, on_progress=lambda tally: seen.append(tally.seconds))
    assert seen == [0, CHUNK, 3 * CHUNK, 6 * CHUNK]


def test_a_plan_survives_json(scene: Scene) -> None:
    for seed in range(20):
        plan = plan_for(seed, scene.setting)
        assert RunPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_what_never_happened_fails_a_long_campaign(scene: Scene) -> None:
    tally = campaign(scene, range(1, 6))
    assert not failed(tally, scene)
    tally.runs = 5000
    assert failed(tally, scene)
    told = list(summary(tally, scene, 1.0))
    assert any(line.startswith("  never:  fault ") for line in told)
    assert told[-1].startswith("✖ no violation, but")
    assert as_data(tally, scene, 1.0)["never"] == tally.missing(scene)


def test_the_trip_should_see_every_kind_of_move(scene: Scene) -> None:
    expected = sometimes([saga for saga, _ in scene.starts])
    assert {"step published -> retracted", "step held -> pending", "step closed", "saga parked -> running"} <= {
        *expected
    }

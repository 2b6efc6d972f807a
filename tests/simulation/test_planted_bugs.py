"""The simulation finds what is broken: each planted bug within so many seeds, and with little around it."""

from __future__ import annotations

import pytest

from choros_verify import Result, Scene, plan_for, shrink
from tests.every_day import every_day
from tests.simulation.grave import GRAVE
from tests.simulation.grave_adapters import ON_FRAMES, ON_REDIS
from tests.simulation.planted import PLANTS, Plant
from tests.simulation.trip import app

MOST_SEEDS = 100
MOST_IN_ALL = 400
"""Of the 10,000 campaigns that CI runs."""
FROM = {
    "no_tombstone": 80, "facts_that_overtake": 210, "a_late_answer_counts": 145, "a_database_without_scopes": 180,
    "replies_judged_before_their_record": 78, "any_operation_under_any_key": 36, "a_panic_that_ends_the_process": 21,
    "a_cancelled_call_is_an_order_to_stop": 32, "a_validator_that_ends_the_process": 35,
    "handlers_without_end": 142, "copies_that_take_places": 30,
    "clocks_that_must_agree": 35, "undone_behind_the_horizon": 50, "a_client_that_decides_no_more": 25,
    "starts_that_begin_later": 23, "one_reply_queue_for_every_store": 6, "commands_parked_at_once": 58,
    "replies_to_nobody": 33, "facts_passed_over": 247, "anybody_may_answer": 45, "facts_in_anybodys_name": 73,
    "never_less_often": 45, "properties_read_by_the_client": 88, "a_connection_kept_to_a_replica": 82,
    "a_connection_made_again_unseen": 241,
}  # fmt: skip
"""The first seed to try, where it is known that the ones before find nothing: that only saves time."""
QUICK = (
    "acknowledged_before_the_commit", "fact_numbers_that_start_again", "one_reply_queue_for_every_store",
)  # fmt: skip
"""Those that are found in a moment; the others are looked for where there is more time."""
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


def found_and_shrunk(scene: Scene, plant: Plant, patch: pytest.MonkeyPatch) -> None:
    plant(patch)
    result = first_failure(scene, FROM.get(plant.__name__, 1))
    small = shrink(scene, result)
    left = [*small.plan.faults, *small.plan.script, *small.plan.acts]
    assert small.violations and len(left) <= FEW, left
    patch.undo()
    assert scene.examine(small.plan).violations == (), "the bug was not the planted one"


ON_THE_PORT = (*PLANTS, *GRAVE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    every_day(ON_THE_PORT, [plant for plant in ON_THE_PORT if plant.__name__ in QUICK], pytest.mark.nightly),
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_is_found_and_shrunk(scene: Scene, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    found_and_shrunk(scene, plant, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("plant", ON_FRAMES, ids=lambda plant: plant.__name__)
def test_so_is_one_of_the_adapter_for_rabbitmq(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    found_and_shrunk(Scene(app, frames=True), plant, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("plant", ON_REDIS, ids=lambda plant: plant.__name__)
def test_so_is_one_of_the_adapter_for_redis(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    found_and_shrunk(Scene(app, store="redis"), plant, monkeypatch)


def test_all_of_them_lie_within_the_campaigns_that_are_run_every_time() -> None:
    plants = (*ON_THE_PORT, *ON_FRAMES, *ON_REDIS)
    names = {plant.__name__ for plant in plants}
    assert {*FROM, *QUICK} <= names and len(names) == len(plants)
    assert max(FROM.values()) + MOST_SEEDS <= MOST_IN_ALL

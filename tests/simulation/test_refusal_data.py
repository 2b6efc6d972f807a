"""The proof gives with its refusals what their commands declare."""

from __future__ import annotations

from typing import Any

import pytest

from choros import Saga
from choros_verify import Bounds, RunPlan, Scene, ScriptLine, campaign, explore
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.states import Left
from tests.saga.declined import APP, SAGA, Buy, Declined, NotBought, NotServed


def told_of(*given: str) -> list[Any]:
    """What a closing fact of the saga was built from, over a whole exploration."""
    told: list[Any] = []

    def off(buy: Buy, declined: Declined | None, not_served: NotServed | None) -> NotBought:
        told.extend(one for one in (declined, not_served) if one)
        return NotBought(order=buy.order, code="no")

    saga = Saga("purchase", start=Buy, steps=SAGA.steps, compensated=off)
    replies = dict(one.split("=") for one in given)
    Exploration(saga, Bounds(Left(0, 0, 0)), replies=replies).run()
    return told


@pytest.mark.slow
def test_an_exploration_reaches_the_functions_that_read_it() -> None:
    """At once, where there is nothing to undo; after an undo, else."""
    assert {type(one) for one in told_of()} == {Declined, NotServed}
    assert NotServed(street="Elm") in told_of('not-served.v1={"street": "Elm"}')


@pytest.mark.nightly
def test_every_promise_is_kept() -> None:
    assert not explore(SAGA).violation
    assert campaign(Scene(APP), range(1, 21)).failures == []


def test_a_simulated_refusal_gives_it() -> None:
    scene = Scene(APP, replies={NotServed: lambda send: NotServed(street=send.order)})
    world = scene.world(RunPlan(seed=1, script=(ScriptLine(0, "send", "do", "refused", code="not_served"),)))
    try:
        assert world.run(scene.horizon)
        (record,) = world.store.records().values()
        assert (record.status, '"refusal":"{' in record.state) == ("compensated", True)
    finally:
        world.end()

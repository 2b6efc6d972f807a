"""What the exploration leaves out makes no difference: with everything left in, it comes to the same."""

from dataclasses import replace
from typing import Any

import pytest

from choros import Saga
from choros_verify import Bounds
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.states import Left
from tests.exploration.trips import trip_saga
from tests.saga.shop import order_saga, parcel_saga

Reached = set[tuple[Any, tuple[tuple[int, int], ...]]]


def reached(saga: Saga[Any], bounds: Bounds) -> tuple[Reached, int]:
    """Every saga as stored with every effect at that moment, and in how many states that was found."""
    exploration = Exploration(saga, bounds)
    found = exploration.run()
    assert found.complete
    assert not found.violation
    effects = {(stored, tuple((b.applied, b.undone) for b in books)) for stored, books in exploration.reached}
    return effects, found.states


@pytest.mark.parametrize(
    ("saga", "left"),
    [(trip_saga, (1, 0, 0)), (trip_saga, (0, 1, 0)), (trip_saga, (0, 0, 1)), (order_saga, (1, 0, 0))],
)
def test_what_is_left_out_makes_no_difference(saga: Saga[Any], left: tuple[int, int, int]) -> None:
    bounds = Bounds(Left(*left), acts=frozenset({"cancel", "retry"}))
    reduced, few = reached(saga, bounds)
    whole, many = reached(saga, replace(bounds, reduce=False))
    assert reduced == whole
    assert few < many


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.long
@pytest.mark.parametrize(
    ("saga", "left"),
    [
        pytest.param(trip_saga, (1, 1, 1), marks=pytest.mark.nightly),
        (parcel_saga, (1, 1, 0)),
        pytest.param(trip_saga, (2, 1, 0), marks=pytest.mark.nightly),
    ],
)
def test_what_is_left_out_makes_no_difference_with_several_budgets(saga: Saga[Any], left: tuple[int, int, int]) -> None:
    bounds = Bounds(Left(*left), acts=frozenset({"cancel", "retry"}))
    reduced, few = reached(saga, bounds)
    whole, many = reached(saga, replace(bounds, reduce=False))
    assert reduced == whole
    assert few * 3 < many

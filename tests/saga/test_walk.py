"""Every outcome of every awaited command, at every moment: the shipped exploration, on the sagas of these tests.

`tests/exploration` has the rest of it: larger budgets, and all its mutants."""

from typing import Any

import pytest

from choros.saga.saga import Saga
from choros_verify import Bounds, explore
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import try_mutant
from tests.saga.shop import order_saga, parcel_saga


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("saga", "least"), [(order_saga, 1_000), (parcel_saga, 1_000)], ids=["order", "parcel"])
def test_every_outcome_at_every_moment(saga: Saga[Any], least: int) -> None:
    found = explore(saga, Bounds(Left(1, 0, 1)))
    assert found.complete, found.story
    assert found.states >= least
    assert set(found.ends) == {"completed", "compensated", "parked"}


def test_facts_published_before_the_pivot_are_caught() -> None:
    mutant = next(one for one in MUTANTS if one.name == "held facts leave early")
    found = try_mutant(mutant, Exploration(parcel_saga, Bounds(Left(0, 0, 0)))).report
    assert found
    assert found.violation == "order-noted.v1 is published before it is true"

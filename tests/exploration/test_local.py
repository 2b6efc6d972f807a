"""Local steps, explored: alone, and next to commanded ones before the pivot and behind it.

To the model the way to a participant is all the same: that a message may come late, twice or never is more than can
happen within one process, so what holds here holds there."""

from typing import Any

import pytest

from choros import Saga
from choros_verify import SHORT, Bounds, explore
from choros_verify.exploration.choices import ActKind
from choros_verify.exploration.report import lines
from choros_verify.exploration.states import Left
from tests.simulation.register import TakeOrder, noting, registering

SOMEBODY: frozenset[ActKind] = frozenset({"cancel", "retry"})
BUDGETS = {"none": Left(0, 0, 0), "a duplicate": Left(1, 0, 0), "a crash": Left(0, 1, 0), "a retry": Left(0, 0, 1)}
START = TakeOrder(order_id="o").to_json()


def explored(saga: Saga[Any], bounds: Bounds) -> None:
    found = explore(saga, bounds, start=START)
    assert found.complete, "\n".join(lines(found))
    assert found.ends.keys() == {"completed", "compensated", "parked"}


@pytest.mark.parametrize("budgets", BUDGETS.values(), ids=BUDGETS.keys())
def test_alone_every_interleaving_keeps_every_promise(budgets: Left) -> None:
    explored(noting, Bounds(budgets))


@pytest.mark.slow
@pytest.mark.parametrize("budgets", BUDGETS.values(), ids=BUDGETS.keys())
def test_next_to_commanded_steps_too(budgets: Left) -> None:
    explored(registering, Bounds(budgets, acts=SOMEBODY))


@pytest.mark.cross
@pytest.mark.timeout(900)
@pytest.mark.parametrize("saga", [noting, registering], ids=lambda saga: saga.name)
def test_whatever_happens(saga: Saga[Any]) -> None:
    explored(saga, Bounds(SHORT))

"""Declared sagas live through random lives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.saga.nodes import Publish, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from tests.properties.machines import explore
from tests.properties.saga_machine import SagaMachine
from tests.saga.shop import (
    PlaceOrder,
    charge_payment,
    make_order_saga,
    order_announced,
    order_rejected,
    order_withdrawn,
    parcel_saga,
    refund_payment,
    release_inventory,
    reserve_inventory,
)

FAST = RetryPolicy(attempts=4, initial=timedelta(seconds=2), total=timedelta(minutes=5))
PARKS = replace(FAST, exhausted="park")


def make_small_saga() -> Saga[Any]:
    """No pivot, so held facts wait for the end; an early one stands in the middle."""
    return Saga(
        "small",
        start=PlaceOrder,
        deadline=timedelta(minutes=10),
        steps=(
            Step(charge_payment, to="payment", compensation=refund_payment, retry=PARKS, undo_retry=FAST),
            Publish(order_announced, early=True, retraction=order_withdrawn),
            Step(reserve_inventory, to="inventory", compensation=release_inventory, retry=FAST, undo_retry=FAST),
        ),
        compensated=order_rejected,
    )


@pytest.mark.parametrize(
    "saga",
    [make_order_saga(FAST), make_order_saga(PARKS, None), parcel_saga, make_small_saga()],
    ids=["order", "order that parks", "parcel", "small"],
)
def test_a_saga_keeps_every_promise(saga: Saga[Any]) -> None:
    explore(lambda: SagaMachine(saga), 50, 50)

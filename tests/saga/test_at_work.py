"""Where a saga stands: the node that is next in it, forward and on the way back."""

from typing import Any

import pytest

from choros.saga.machine.instance import Leg, NodeState, States
from choros.saga.nodes import Nested, Pivot
from choros.saga.saga import Saga
from tests.saga.credit import HELD, credit_saga, order_of, order_saga, reserve_credit
from tests.saga.loan import loan_saga
from tests.saga.test_nested import ship_it

SHIPPED = Pivot(ship_it, to="lorries")
ends_saga = order_of(HELD, Nested(credit_saga, reserve_credit, ends=True), SHIPPED)
detached_saga = order_of(HELD, Nested(credit_saga, reserve_credit, detached=True), SHIPPED)
OK, SENT = NodeState(progress="ok"), NodeState(progress="sent", leg=Leg("do", "{}", 1, 0.0, 1.0))


def of(progress: Any) -> NodeState:
    return NodeState(progress=progress)


def at_work(saga: Saga[Any], backward: bool, **states: NodeState) -> str | None:
    return saga.tree.root.at_work(States(states.items()), backward)


@pytest.mark.parametrize(
    ("saga", "credit", "stands_at"),
    [
        (order_saga, of("pending"), "credit"),
        (order_saga, SENT, "credit"),
        (order_saga, of("refused"), "credit"),
        (order_saga, OK, "ship"),
        (order_saga, of("passed_over"), "ship"),
        (ends_saga, of("pending"), "credit"),
        (ends_saga, OK, "ship_it"),
        (ends_saga, of("refused"), "ship_it"),
        (detached_saga, of("pending"), "credit"),
        (detached_saga, of("held"), "ship_it"),
        (detached_saga, SENT, "ship_it"),
        (detached_saga, of("refused"), "credit"),
    ],
)
def test_it_stands_at_a_nested_saga_until_that_is_over_or_ends_by_itself(
    saga: Saga[Any], credit: NodeState, stands_at: str
) -> None:
    assert at_work(saga, False, hold_stock=OK, credit=credit) == stands_at


@pytest.mark.parametrize(
    ("saga", "credit", "stands_at"),
    [
        (order_saga, OK, "credit"),
        (order_saga, of("in_doubt"), "credit"),
        (order_saga, NodeState(progress="in_doubt", leg=Leg("undo", "{}", 1, 0.0, 1.0)), "credit"),
        (order_saga, NodeState(progress="refused", leg=Leg("close", "{}", 1, 0.0, 1.0)), "credit"),
        (order_saga, of("pending"), "hold_stock"),
        (order_saga, of("undone"), "hold_stock"),
        (detached_saga, OK, "hold_stock"),
    ],
)
def test_on_the_way_back_as_long_as_it_may_be_undone(saga: Saga[Any], credit: NodeState, stands_at: str) -> None:
    assert at_work(saga, True, hold_stock=OK, credit=credit) == stands_at


@pytest.mark.parametrize(
    ("backward", "progress", "stands_at"),
    [
        (False, "pending", "decided"),
        (False, "awaiting", "decided"),
        (False, "ok", "pay_out"),
        (False, "lapsed", "pay_out"),
        (True, "awaiting", "set_aside"),
        (True, "ok", "set_aside"),
    ],
)
def test_it_stands_at_a_wait_until_that_is_over(backward: bool, progress: str, stands_at: str) -> None:
    assert at_work(loan_saga, backward, set_aside=OK, decided=of(progress)) == stands_at

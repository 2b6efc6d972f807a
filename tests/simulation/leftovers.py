"""An application whose sagas go on without an undo that fails for good: of an order, of the stock, of a race that is
lost, and of a saga within another one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from choros import App, Existing, Nested, Parallel, Pivot, RetryPolicy, Saga, Service, Step
from tests.simulation.returns import (
    AskCredit,
    FreeStock,
    Fulfil,
    Fulfilled,
    HoldStock,
    Ship,
    Withdrawn,
    WithdrawOrder,
    ask_credit,
    free_stock,
    fulfilled,
    hold_stock,
    ship,
    withdraw_order,
    withdrawn,
)

SOON = RetryPolicy(attempts=2, initial=timedelta(seconds=1))
BRIEF = timedelta(seconds=10)
HELD = Step(
    hold_stock, to="stock", compensation=free_stock, timeout=BRIEF, undo_retry=SOON, undo_exhausted="skip",
)  # fmt: skip
SPARE = replace(HELD, to="store", name="spare")
clearing = Saga(
    "clearing",
    start=Fulfil,
    steps=(
        Existing(to="orders", compensation=withdraw_order, undo_retry=SOON, undo_exhausted="skip"),
        Step(ask_credit, to="credit", compensation=free_stock),
        HELD,
        Pivot(ship, to="shipping"),
    ),
    completed=fulfilled,
    compensated=withdrawn,
)
racing = Saga(
    "racing",
    start=Fulfil,
    steps=(Parallel(HELD, SPARE, first=1, name="race"), Pivot(ship, to="shipping")),
    completed=fulfilled,
    compensated=withdrawn,
)
within = Saga("within", start=Fulfil, steps=(HELD, Step(ask_credit, to="credit", compensation=free_stock)))


def as_it_is(order: Fulfil) -> Fulfil:
    return order


around = Saga(
    "around",
    start=Fulfil,
    steps=(Nested(within, as_it_is), Pivot(ship, to="shipping")),
    completed=fulfilled,
    compensated=withdrawn,
)
app = App(
    "leftovers",
    sagas=[clearing, racing, around, within],
    services=[
        Service("orders", commands=(WithdrawOrder,)),
        Service("credit", commands=(AskCredit, FreeStock)),
        Service("stock", commands=(HoldStock, FreeStock)),
        Service("store", commands=(HoldStock, FreeStock)),
        Service("shipping", commands=(Ship,)),
        Service("news", facts=(Fulfilled, Withdrawn)),
    ],
)

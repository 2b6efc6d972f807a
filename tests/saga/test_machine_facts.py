"""Rules 18 and 19: facts leave with the commit that makes them true; and what a bug in a declaration leads to."""

from typing import Any

import pytest

from choros.messages import Failure
from choros.saga.machine.machine import begin
from choros.saga.nodes import Pivot, Publish, Step
from choros.saga.saga import Saga
from tests.saga.driving import START, Run, at_pivot, commands
from tests.saga.shop import (
    CHARGED,
    SHIPPED,
    ChargePayment,
    OrderNoted,
    OrderRejected,
    PlaceOrder,
    RefundPayment,
    charge_payment,
    order_announced,
    order_noted,
    order_rejected,
    order_saga,
    order_withdrawn,
    parcel_saga,
    refund_payment,
    ship_parcel,
)


def published(run: Run) -> list[tuple[int, str, str]]:
    return [(fact.seq, fact.type, fact.step) for fact in run.facts]


def at_parcel_pivot() -> Run:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    return run


def test_rule_19_a_fact_before_the_pivot_is_held_and_an_early_one_is_not() -> None:
    run = at_parcel_pivot()
    assert run.kinds == ["replied", "fact_held", "fact_published", "sent"]
    assert published(run) == [(1, "order-announced.v1", "order_announced")]
    assert run.progress() == ["ok", "held", "published", "sent", "pending", "pending"]


def test_rule_18_a_number_is_given_at_release_not_while_held() -> None:
    run = at_parcel_pivot()
    run.ok(SHIPPED)
    assert published(run)[1:] == [(2, "order-noted.v1", "order_noted")]
    run.ok()
    assert published(run)[2:] == [
        (3, "parcel-on-its-way.v1", "parcel_on_its_way"),
        (4, "order-confirmed.v1", ""),
    ]
    assert run.instance.seq == 4


def test_rule_19_compensation_drops_the_held_and_takes_the_early_back() -> None:
    run = at_parcel_pivot()
    run.refuse("no_such_address")
    assert run.kinds == ["refused", "compensating", "fact_dropped", "fact_published", "sent"]
    run.ok()
    assert published(run) == [
        (1, "order-announced.v1", "order_announced"),
        (2, "order-withdrawn.v1", "order_announced"),
        (3, "order-rejected.v1", ""),
    ]
    assert run.progress() == ["undone", "pending", "retracted", "refused", "pending", "pending"]


def test_rule_19_parked_before_the_pivot_the_held_stay() -> None:
    run = at_parcel_pivot()
    run.time_out(2)
    assert (run.status, run.progress()[1]) == ("parked", "held")
    assert OrderNoted.from_json(run.states[1].fact) == OrderNoted(order_id="o1")


def test_rule_19_with_no_pivot_the_held_leave_at_the_end() -> None:
    saga = Saga(
        "bare",
        start=PlaceOrder,
        steps=[Publish(order_noted), Step(charge_payment, to="payment", compensation=refund_payment)],
        completed=[order_noted],
    )
    run = Run(saga)
    assert published(run) == []
    run.ok(CHARGED)
    assert published(run) == [(1, "order-noted.v1", "order_noted"), (2, "order-noted.v1", "")]


def test_rule_19_an_early_fact_that_was_never_published_is_not_taken_back() -> None:
    run = Run(parcel_saga)
    run.refuse("card_declined")
    assert published(run) == [(1, "order-rejected.v1", "")]


# --- a bug in a function of the declaration ---------------------------------------------------------------------------


class Bugs:
    """Functions that fail as long as the test says so."""

    def __init__(self) -> None:
        self.left: set[str] = set()

    def _check(self, name: str) -> None:
        if name in self.left:
            raise ZeroDivisionError("4111111111111111")

    def pay(self, order: PlaceOrder) -> ChargePayment:
        self._check("pay")
        return charge_payment(order)

    def refund(self, order: PlaceOrder) -> RefundPayment:
        self._check("refund")
        return refund_payment(order)

    def confirmed(self, order: PlaceOrder) -> OrderNoted:
        self._check("confirmed")
        return order_noted(order)

    def rejected(self, order: PlaceOrder, failure: Failure) -> OrderRejected:
        self._check("rejected")
        return order_rejected(order, failure)


def buggy(*names: str) -> tuple[Bugs, Run]:
    bugs = Bugs()
    bugs.left = set(names)
    saga = Saga(
        "buggy",
        start=PlaceOrder,
        steps=[Step(bugs.pay, to="payment", compensation=bugs.refund, name="pay")],
        completed=bugs.confirmed,
        compensated=bugs.rejected,
    )
    return bugs, Run(saga)


def test_a_command_that_cannot_be_built_parks_without_saying_what_was_in_it() -> None:
    bugs, run = buggy("pay")
    assert (run.kinds, run.instance.why_parked) == (["started", "parked"], "pay raised ZeroDivisionError")
    bugs.left.clear()
    run.retry("pay")
    assert commands(run) == ["pay:1:do#1"]


def test_a_command_that_cannot_be_built_has_no_key_to_close() -> None:
    _, run = buggy("pay")
    run.skip("pay", CHARGED)
    assert (run.kinds, run.status) == (["too_late"], "parked")


def test_a_command_that_cannot_be_built_can_be_cancelled() -> None:
    _, run = buggy("pay")
    run.cancel()
    assert (run.status, commands(run), len(run.facts)) == ("compensated", [], 1)


def test_an_undo_that_cannot_be_built_parks_and_is_tried_again() -> None:
    bugs, run = buggy("refund")
    run.cancel()
    assert (run.status, run.last.events[-1].step) == ("parked", "pay")
    bugs.left.clear()
    run.retry("pay")
    assert commands(run)[-1] == "pay:1:undo#1"


def test_a_closing_fact_that_cannot_be_built_parks_and_publishes_nothing() -> None:
    bugs, run = buggy("confirmed")
    run.ok(CHARGED)
    assert (run.status, run.facts, run.last.events[-1].step) == ("parked", [], "")
    run.skip("")
    assert run.kinds == ["too_late"]
    bugs.left.clear()
    run.retry("")
    assert (run.status, len(run.facts)) == ("completed", 1)


def test_with_no_pivot_a_saga_parked_at_its_end_can_be_cancelled() -> None:
    _, run = buggy("confirmed")
    run.ok(CHARGED)
    run.cancel()
    assert commands(run)[-1] == "pay:1:undo#1"


def test_a_rejection_that_cannot_be_built_leaves_the_refusal_as_it_is() -> None:
    bugs, run = buggy("rejected")
    run.refuse("card_declined")
    assert (run.status, run.progress()) == ("parked", ["refused"])
    bugs.left.clear()
    run.retry("")
    assert (run.status, run.progress()) == ("compensated", ["refused"])


def other_fact(order: PlaceOrder) -> OrderNoted:
    return order_announced(order)  # type: ignore[return-value]


def test_a_function_that_builds_something_else_parks() -> None:
    saga = Saga("odd", start=PlaceOrder, steps=[Publish(other_fact), Pivot(ship_parcel, to="shipping")])
    assert Run(saga).instance.why_parked == "other_fact returned OrderAnnounced, not OrderNoted"


def test_a_stored_message_that_no_longer_fits_parks_without_repeating_it() -> None:
    decision = begin(order_saga.tree, "s1", '{"order_id":"4111111111111111"}', START, cause="c")
    assert decision.instance.why_parked == (
        "a stored message no longer fits what charge_payment takes: The body is no place-order.v1: total: missing."
    )


@pytest.mark.parametrize("retraction", [order_withdrawn])
def test_a_retraction_is_published_once(retraction: Any) -> None:
    saga = Saga(
        "early",
        start=PlaceOrder,
        steps=[
            Step(charge_payment, to="payment", compensation=refund_payment),
            Publish(order_announced, early=True, retraction=retraction),
            Pivot(ship_parcel, to="shipping"),
        ],
    )
    run = Run(saga)
    run.ok(CHARGED)
    run.refuse("no_such_address")
    run.fire()
    run.ok()
    assert [fact.type for fact in run.facts] == ["order-announced.v1", "order-withdrawn.v1"]


def test_a_completed_order_published_nothing_of_its_failure() -> None:
    run = at_pivot()
    run.ok(SHIPPED)
    assert published(run) == [(1, "order-confirmed.v1", "")]

"""What a saga comes to: a function of its replies, computed once when it is completed, kept, and told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from choros.errors import DeclarationError
from choros.messages import Done, Message
from choros.saga.diagram import mermaid, outline
from choros.saga.difference import difference, why_not_moved
from choros.saga.machine.instance import Instance
from choros.saga.nodes import Pivot, Step
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from choros_verify import Bounds, explore
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import try_mutant
from tests.saga.driving import Run
from tests.saga.shop import (
    CHARGED,
    ORDER,
    SHIPPED,
    TWICE,
    OrderConfirmed,
    OrderShipped,
    PlaceOrder,
    charge_payment,
    order_confirmed,
    order_rejected,
    order_saga,
    refund_payment,
    ship_parcel,
)


class OrderResult(Message):
    order_id: str
    parcel: str


def order_result(order: PlaceOrder, shipped: OrderShipped) -> OrderResult:
    return OrderResult(order_id=order.order_id, parcel=shipped.parcel)


def saga_of(**more: Any) -> Saga[PlaceOrder, Any]:
    steps = (
        Step(charge_payment, to="payment", compensation=refund_payment, retry=TWICE, undo_retry=TWICE),
        Pivot(ship_parcel, to="shipping", retry=TWICE),
    )
    given = {"completed": order_confirmed, "compensated": order_rejected, "result": order_result, **more}
    return Saga("order", start=PlaceOrder, steps=steps, **given)


SAGA = saga_of()


@pytest.fixture
def test() -> SagaTest:
    test = SagaTest(SAGA)
    test.start(ORDER)
    test.expect_command(charge_payment(ORDER)).reply(CHARGED)
    return test


def test_a_completed_saga_comes_to_what_its_function_makes_of_the_replies(test: SagaTest) -> None:
    before = test.result
    test.expect_command(ship_parcel(ORDER)).reply(SHIPPED)
    assert before is None
    assert test.result == OrderResult(order_id="o1", parcel="x1")
    assert Instance.loads(test.instance.dumps()) == test.instance
    assert test.expect_facts(OrderConfirmed), "it is published to nobody"


def test_a_saga_that_was_undone_comes_to_nothing(test: SagaTest) -> None:
    test.expect_command(ship_parcel(ORDER)).refuse("no_such_address")
    test.expect_compensation(refund_payment(ORDER)).reply()
    assert (test.status, test.result) == ("compensated", None)


def test_a_saga_without_one_comes_to_nothing() -> None:
    test = SagaTest(saga_of(result=None))
    test.start(ORDER)
    test.expect_command(charge_payment(ORDER)).reply(CHARGED)
    test.expect_command(ship_parcel(ORDER)).reply(SHIPPED)
    assert (test.status, test.result) == ("completed", None)
    assert '"result"' not in test.instance.dumps(), "an older choros reads what has none"


def test_a_function_that_raises_parks_the_saga_before_anything_is_published() -> None:
    broken = [True]

    def sometimes(shipped: OrderShipped) -> OrderResult:
        if broken:
            raise LookupError
        return OrderResult(order_id="o1", parcel=shipped.parcel)

    run = Run(saga_of(result=sometimes))
    run.ok(CHARGED)
    run.ok(SHIPPED)
    assert (run.instance.status, run.instance.why_parked) == ("parked", "sometimes raised LookupError")
    assert (run.facts, run.instance.result) == ([], "")
    broken.clear()
    run.retry("")
    assert run.instance.status == "completed"
    assert run.instance.result == '{"order_id":"o1","parcel":"x1"}'
    assert [fact.type for fact in run.facts] == ["order-confirmed.v1"]


# --- the declaration --------------------------------------------------------------------------------------------------


class Plain(BaseModel):
    parcel: str


def plain(shipped: OrderShipped) -> Plain:
    return Plain(parcel=shipped.parcel)


def of_whom(order: PlaceOrder, done: Done) -> OrderResult:
    return OrderResult(order_id=order.order_id, parcel=str(done))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (plain, "plain returns Plain, not a Message"),
        (of_whom, "of_whom needs Done, which no earlier step replies with"),
        (order_rejected, "takes a Failure, but a completed saga has no failure"),
        ("order_result", "'order_result' is no function"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(function: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        saga_of(result=function)


def test_it_is_in_the_fingerprint_only_where_there_is_one() -> None:
    with_one, without = SAGA.fingerprint.text, saga_of(result=None).fingerprint.text
    line = "when completed: comes to order-result(place-order, ship_parcel: order-shipped)"
    assert with_one == f"{without}{line}\n"
    assert difference(with_one, without).startswith("closing facts when completed: order-confirmed(")
    run = Run(SAGA)
    assert why_not_moved(run.instance, with_one, without).startswith("closing facts")


def test_the_diagram_and_the_outline_name_it() -> None:
    assert 's1 --> completed(["completed<br/>OrderResult"])' in mermaid(SAGA)
    assert "  completed, it comes to OrderResult" in outline(SAGA)
    assert "s2 --> completed([completed])" in mermaid(order_saga)


# --- the proof --------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_every_interleaving_ends_with_it_or_without() -> None:
    found = explore(SAGA)
    assert found.complete, found.story
    assert set(found.ends) == {"completed", "compensated", "parked"}


def test_one_that_is_not_kept_is_noticed() -> None:
    mutant = next(one for one in MUTANTS if one.name == "result not kept")
    result = try_mutant(mutant, Exploration(SAGA, Bounds(Left(0, 0, 0))))
    assert result.report
    assert (result.caught, result.report.invariant) == (True, 2)

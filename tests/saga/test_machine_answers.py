"""Rules 1, 8, 10 and 11: keys, rounds, which answer counts, what may be refused, what a compensation knows."""

import json
from datetime import timedelta

import pytest

from choros.messages import Failure
from choros.saga.machine.inputs import CancelRequested, TimerFired
from choros.saga.machine.machine import begin
from choros.saga.nodes import Pivot, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from tests.saga.driving import START, Run, at_pivot, commands, key
from tests.saga.shop import (
    CHARGED,
    ORDER,
    SHIPPED,
    PlaceOrder,
    charge_payment,
    make_order_saga,
    order_saga,
    parcel_saga,
    refund_payment,
    ship_parcel,
)


def test_the_way_forward() -> None:
    run = at_pivot()
    assert run.status == "running"
    run.ok(SHIPPED)
    assert run.status == "completed"
    assert commands(run) == ["charge_payment:1:do#1", "reserve_inventory:1:do#1", "ship_order:1:do#1"]
    assert [send.to for send in run.sends] == ["payment", "inventory", "shipping"]
    assert [(fact.type, fact.seq) for fact in run.facts] == [("order-confirmed.v1", 1)]
    assert json.loads(run.facts[0].data) == {"order_id": "o1", "parcel": "x1"}
    assert run.instance.wake_at is None


def test_a_refused_step_is_not_undone_but_those_before_it_are_newest_first() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    assert run.status == "compensating"
    run.ok()
    run.ok()
    assert commands(run)[3:] == ["reserve_inventory:1:undo#1", "charge_payment:1:undo#1"]
    assert run.status == "compensated"
    assert run.progress() == ["undone", "undone", "refused"]
    assert json.loads(run.facts[0].data) == {"order_id": "o1", "code": "no_such_address"}


def test_each_undo_waits_for_the_answer_to_the_one_before() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    assert len(run.last.sends) == 1
    run.fire()
    assert commands(run)[-1] == "reserve_inventory:1:undo#2"


def test_rule_1_a_retry_keeps_the_key_and_the_body() -> None:
    run = Run()
    run.fire()
    first, again = run.sends
    assert str(first.key) == str(again.key) == "s1:charge_payment:1:do"
    assert (first.data, first.attempt, again.data, again.attempt) == (first.data, 1, first.data, 2)


def test_rule_1_an_undo_has_the_key_of_its_do() -> None:
    run = Run()
    run.cancel()
    assert run.sends[1].key == run.sends[0].key.of("undo")


def test_rule_1_a_round_rises_only_when_a_refused_step_is_tried_again() -> None:
    run = refused_after_the_pivot()
    assert run.status == "parked"
    run.retry("print_invoice")
    assert run.sent.key == key("print_invoice", "do", 2)
    run.time_out(2)
    assert run.status == "parked"
    run.retry("print_invoice", 2)
    assert run.sent.key == key("print_invoice", "do", 2)  # in doubt, so the key must stay
    late = run.refuse("cancelled", to=run.sends[2])
    assert run.kinds == ["late_reply"]
    assert late.instance.status == "running"


def refused_after_the_pivot() -> Run:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("cancelled")
    return run


@pytest.mark.parametrize("attempt", [1, 2])
def test_rule_8_ok_from_any_attempt_decides(attempt: int) -> None:
    run = Run()
    run.fire()
    run.ok(CHARGED, attempt=attempt)
    assert run.progress() == ["ok", "sent", "pending"]


@pytest.mark.parametrize("attempt", [1, 2])
def test_rule_8_refused_from_any_attempt_decides(attempt: int) -> None:
    run = Run()
    run.fire()
    run.refuse("card_declined", attempt=attempt)
    assert run.status == "compensated"


def test_rule_8_ok_between_two_attempts_decides() -> None:
    run = Run()
    run.fail()
    assert run.leg.waiting
    run.ok(CHARGED)
    assert run.progress() == ["ok", "sent", "pending"]


def test_rule_8_a_retryable_failure_counts_only_for_the_attempt_that_is_awaited() -> None:
    run = Run()
    run.fire()
    before = run.instance
    run.fail(attempt=1)
    assert (run.kinds, run.instance) == (["late_reply"], before)
    run.fail(attempt=2)
    assert run.status == "compensating"


def test_rule_8_a_failure_repeated_between_two_attempts_counts_once() -> None:
    run = Run()
    run.fail()
    before = run.instance
    run.fail()
    assert (run.kinds, run.instance) == (["late_reply"], before)


def test_rule_8_a_failure_of_a_parked_command_changes_nothing() -> None:
    run = at_pivot()
    run.time_out(2)
    before = run.instance
    run.fail()
    assert (run.kinds, run.instance) == (["late_reply"], before)


def test_rule_8_a_failure_of_what_is_being_closed_is_no_failure_of_the_close() -> None:
    run = at_pivot()
    run.time_out(2)
    run.skip("ship_order", SHIPPED)
    before = run.instance
    run.fail(to=run.sends[2])
    assert (run.kinds, run.instance) == (["late_reply"], before)


def test_rule_8_a_late_reply_is_recorded_and_changes_nothing() -> None:
    run = Run()
    first = run.sent
    run.cancel()
    before = run.instance
    run.ok(CHARGED, to=first)
    assert (run.kinds, run.last.sends, run.instance) == (["late_reply"], (), before)
    assert run.last.events[0].cause == "reply-1"
    run.ok()
    run.ok(CHARGED, to=first)
    assert (run.kinds, run.status) == (["late_reply"], "compensated")


def test_what_moves_nothing_is_no_cause() -> None:
    run = Run()
    run.ok(CHARGED)
    run.ok(CHARGED, to=run.sends[0])
    assert run.instance.cause == "reply-1"
    run.fire()
    assert run.last.events[-1].cause == "reply-1"


@pytest.mark.parametrize(
    "forged",
    [
        key("charge_payment", "do", saga_id="s2"),
        key("nobody", "do"),
        key("charge_payment", "do", 2),
        key("charge_payment", "undo"),
        key("reserve_inventory", "do"),
    ],
    ids=str,
)
def test_a_reply_that_nothing_asked_for_is_a_stray(forged: CommandKey) -> None:
    run = Run()
    before = run.instance
    run.ok(CHARGED, key=forged)
    assert run.last.strays == ("reply-1",)
    assert (run.instance, run.last.events) == (before, ())


def test_a_reply_to_a_fact_is_a_stray() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(key=key("order_noted", "do"))
    assert run.last.strays == ("reply-2",)


def test_a_close_that_nobody_asked_for_changes_nothing() -> None:
    run = Run()
    before = run.instance
    run.ok(key=key("charge_payment", "close"))
    assert (run.kinds, run.instance) == (["late_reply"], before)


def test_rule_10_an_undeclared_refusal_is_a_retryable_failure() -> None:
    run = Run()
    run.refuse("bank_closed")
    assert run.kinds == ["undeclared_refusal", "retry_scheduled"]
    assert run.status == "running"
    run.fire()
    run.refuse("bank_closed")
    assert run.status == "compensating"
    assert run.progress()[0] == "in_doubt"


@pytest.mark.parametrize("code", ["expired", "cancelled"])
def test_rule_10_what_choros_itself_refuses_is_definite(code: str) -> None:
    run = Run()
    run.refuse(code)
    assert run.status == "compensated"


def test_rule_10_an_undo_cannot_be_refused() -> None:
    run = at_pivot()
    run.cancel()
    run.refuse("no_such_address")
    run.refuse("cancelled")
    assert run.kinds == ["undeclared_refusal", "retry_scheduled"]
    assert run.status == "compensating"


def test_a_failed_undo_parks_and_its_late_answer_goes_on() -> None:
    run = Run()
    run.cancel()
    run.fail()
    run.fire()
    run.fail()
    assert run.status == "parked"
    assert run.instance.why_parked == "charge_payment (undo) is in doubt after 2 attempts: ConnectionError"
    run.ok()
    assert (run.kinds, run.status) == (["undone", "unparked", "fact_published", "compensated"], "compensated")


def test_rule_11_an_undo_in_doubt_knows_no_reply_of_its_own_step() -> None:
    run = Run()
    run.ok(CHARGED)
    run.cancel()
    assert json.loads(run.sent.data) == {"order_id": "o1", "reservation_id": ""}


def test_rule_11_an_undo_knows_the_reply_of_its_step_if_there_was_one() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    assert json.loads(run.sent.data) == {"order_id": "o1", "reservation_id": "r1"}


def test_a_failure_keeps_the_code_the_step_and_the_detail() -> None:
    run = Run()
    run.ok(CHARGED)
    run.refuse("sold_out")
    assert Failure.from_json(run.instance.failure) == Failure(
        code="sold_out", detail="why", step="reserve_inventory", kind="refused"
    )


def test_a_code_that_no_retry_can_mend_ends_the_attempts() -> None:
    run = Run(make_order_saga(RetryPolicy(non_retryable=("TypeError",))))
    run.fail("TypeError")
    assert run.kinds == ["failed", "compensating", "sent"]
    assert Failure.from_json(run.instance.failure).kind == "in_doubt"


def test_a_failure_without_a_code_is_unknown() -> None:
    run = Run(make_order_saga(RetryPolicy(attempts=1)))
    run.fail("")
    assert Failure.from_json(run.instance.failure).code == "unknown"


def test_a_step_may_park_instead_of_being_undone() -> None:
    policy = RetryPolicy(attempts=1, exhausted="park")
    run = Run(make_order_saga(policy, deadline=None))
    run.fire()
    assert (run.status, run.instance.wake_at) == ("parked", None)
    run.refuse("card_declined")
    assert run.kinds == ["refused", "unparked", "compensating", "fact_published", "compensated"]


def test_the_start_is_kept_with_where_it_came_from() -> None:
    decision = begin(order_saga.tree, "s1", ORDER.to_json(), START, cause="c1", traceparent="00-a", tracestate="b")
    assert decision.instance.cause == "c1"
    assert (decision.instance.traceparent, decision.instance.tracestate) == ("00-a", "b")
    assert decision.instance.deadline == START + 3600
    assert [event.kind for event in decision.events] == ["started", "sent"]


def test_a_saga_without_a_pivot() -> None:
    saga = Saga("bare", start=PlaceOrder, steps=[Step(charge_payment, to="payment", compensation=refund_payment)])
    run = Run(saga)
    run.ok(CHARGED)
    assert (run.status, run.facts) == ("completed", [])
    other = Run(saga)
    other.cancel()
    other.ok()
    assert other.status == "compensated"


def test_a_pivot_alone() -> None:
    saga = Saga("lone", start=PlaceOrder, steps=[Pivot(ship_parcel, to="shipping", timeout=timedelta(seconds=5))])
    run = Run(saga)
    assert run.leg.due == START + 5
    run.refuse("no_such_address")
    assert run.status == "compensated"


def test_inputs_are_folded_answers_first_then_people_then_timers() -> None:
    run = Run()
    run.give(TimerFired(), CancelRequested("c"), run.answer("ok", CHARGED), at=START + 30)
    assert run.kinds == ["replied", "compensating", "sent"]
    assert commands(run) == ["charge_payment:1:do#1", "charge_payment:1:undo#1"]  # the next step was never sent

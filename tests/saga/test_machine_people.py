"""Rules 13 and 17: pause and resume; retry and skip, which close the key first and come too late if it has moved on."""

import json

import pytest

from choros import Saga, Step
from choros.messages import Done
from choros.saga.policy import RetryPolicy
from tests.saga.driving import START, Run, at_pivot, commands, key
from tests.saga.shop import CHARGED, SHIPPED, ChargePayment, PlaceOrder, make_order_saga, parcel_saga, refund_payment

PARKS = make_order_saga(RetryPolicy(attempts=1, exhausted="park"), deadline=None)


def parked_pivot() -> Run:
    run = at_pivot()
    run.time_out(2)
    return run


def parked_undo() -> Run:
    run = Run()
    run.cancel()
    run.time_out(2)
    assert run.status == "parked"
    return run


# --- pause ------------------------------------------------------------------------------------------------------------


def test_rule_13_paused_nothing_is_sent_until_resumed() -> None:
    run = Run()
    run.pause()
    run.ok(CHARGED)
    assert (run.progress(), run.last.sends) == (["ok", "pending", "pending"], ())
    run.resume()
    assert (run.kinds, commands(run)[-1]) == (["resumed", "sent"], "reserve_inventory:1:do#1")


def test_rule_13_paused_a_command_keeps_its_timer_and_counts_no_attempt() -> None:
    run = Run()
    run.pause()
    run.fire()
    run.fire()
    assert (run.leg.attempt, run.leg.due, run.last.sends) == (1, START + 90, ())
    run.resume()
    assert run.last.sends == ()
    run.fire()
    assert run.leg.attempt == 2


def test_rule_13_a_cancel_while_paused_acts_when_resumed() -> None:
    run = Run()
    run.pause()
    run.cancel()
    assert (run.status, run.last.sends) == ("compensating", ())
    run.resume()
    assert commands(run)[-1] == "charge_payment:1:undo#1"


def test_rule_13_parked_and_paused_the_answer_is_taken_but_nothing_sent() -> None:
    run = parked_undo()
    run.pause()
    run.ok()
    assert (run.status, run.facts) == ("compensating", [])
    run.resume()
    assert run.status == "compensated"


@pytest.mark.parametrize("act", [Run.pause, Run.resume])
def test_pause_and_resume_come_too_late_where_they_change_nothing(act: object) -> None:
    run = Run()
    if act is Run.pause:
        run.pause()
    before = run.instance
    assert callable(act)
    act(run)
    assert (run.kinds, run.instance) == (["too_late"], before)


def test_a_saga_at_its_end_cannot_be_paused() -> None:
    run = at_pivot()
    run.ok(SHIPPED)
    run.pause()
    assert (run.kinds, run.instance.paused) == (["too_late"], False)


def test_resuming_a_parked_saga_leaves_it_parked() -> None:
    run = parked_pivot()
    run.pause()
    run.resume()
    assert (run.kinds, run.status) == (["resumed"], "parked")


# --- retry ------------------------------------------------------------------------------------------------------------


def test_rule_17_a_parked_command_is_sent_again_under_its_key() -> None:
    run = parked_pivot()
    run.now += 50
    run.retry("ship_order")
    assert (run.kinds, commands(run)[-1]) == (["unparked", "sent"], "ship_order:1:do#3")
    assert (run.status, run.instance.why_parked, run.leg.first_at) == ("running", "", run.now)
    assert run.instance.cause == "retry"


def test_rule_17_a_parked_undo_is_sent_again_under_its_key() -> None:
    run = parked_undo()
    run.retry("charge_payment")
    assert (run.status, commands(run)[-1]) == ("compensating", "charge_payment:1:undo#3")


@pytest.mark.parametrize(("step", "round_"), [("charge_payment", 1), ("ship_order", 2), ("", 1)])
def test_rule_17_an_act_on_what_is_not_parked_comes_too_late(step: str, round_: int) -> None:
    run = parked_pivot()
    before = run.instance
    run.retry(step, round_)
    assert (run.kinds, run.instance) == (["too_late"], before)
    run.skip(step, SHIPPED, round_)
    assert (run.kinds, run.instance) == (["too_late"], before)


def test_rule_17_an_act_comes_too_late_when_the_answer_was_there_first() -> None:
    run = parked_pivot()
    run.ok(SHIPPED)
    run.retry("ship_order")
    assert (run.kinds, run.last.events[0].code, run.last.sends) == (["too_late"], "retry", ())
    run.skip("ship_order")
    assert (run.kinds, run.last.events[0].code) == (["too_late"], "skip")


def test_while_paused_no_act_counts() -> None:
    run = parked_pivot()
    run.pause()
    run.retry("ship_order")
    assert (run.kinds, run.status) == (["too_late"], "parked")


# --- skip -------------------------------------------------------------------------------------------------------------


def test_rule_17_a_skip_closes_the_key_before_it_counts() -> None:
    run = parked_pivot()
    run.skip("ship_order", SHIPPED)
    assert run.sent.key == key("ship_order", "close")
    assert (run.sent.type, json.loads(run.sent.data)) == ("choros.close.v1", {"of": "do"})
    assert run.progress()[2] == "sent"
    run.ok(Done())
    assert run.kinds == ["skipped", "pivot_passed", "fact_published", "completed"]
    assert json.loads(run.facts[0].data)["parcel"] == "x1"


def test_rule_17_the_stored_outcome_outweighs_the_skip() -> None:
    run = parked_pivot()
    run.skip("ship_order", SHIPPED)
    run.ok(SHIPPED.model_copy(update={"parcel": "real"}), to=run.sends[2])
    assert json.loads(run.facts[0].data)["parcel"] == "real"


def test_rule_17_a_stored_refusal_outweighs_the_skip() -> None:
    run = parked_pivot()
    run.skip("ship_order", SHIPPED)
    run.refuse("no_such_address", to=run.sends[2])
    assert run.status == "compensating"


def test_rule_17_a_copy_that_the_close_made_the_participant_refuse_is_no_outcome() -> None:
    run = parked_pivot()
    run.skip("ship_order", SHIPPED)
    before = run.instance
    run.refuse("cancelled", to=run.sends[2])
    assert (run.kinds, run.instance) == (["late_reply"], before)
    run.ok(Done())
    assert run.status == "completed"


def test_rule_17_a_close_is_sent_again_and_parks_again() -> None:
    run = parked_pivot()
    run.skip("ship_order", SHIPPED)
    run.fire()
    assert commands(run)[-1] == "ship_order:1:close#2"
    run.fire()
    assert run.instance.why_parked == "ship_order (close) is in doubt after 2 attempts: timeout"


def test_rule_17_a_skipped_undo_goes_on_undoing() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    run.time_out(2)
    run.skip("reserve_inventory")
    assert (run.sent.key, json.loads(run.sent.data)) == (key("reserve_inventory", "close"), {"of": "undo"})
    run.ok(Done())
    assert (run.kinds, commands(run)[-1]) == (["skipped", "left_standing", "sent"], "charge_payment:1:undo#1")


def test_a_skipped_undo_takes_the_undo_that_was_on_its_way() -> None:
    run = parked_undo()
    undo = run.sent
    run.skip("charge_payment")
    run.ok(CHARGED, to=run.sends[0])
    assert run.kinds == ["late_reply"]
    run.ok(to=undo)
    assert run.status == "compensated"


def test_a_step_skipped_forward_is_undone_when_the_saga_turns_back() -> None:
    run = Run(PARKS)
    run.fire()
    run.skip("charge_payment", CHARGED)
    run.ok(Done())
    assert run.progress() == ["ok", "sent", "pending"]
    run.refuse("sold_out")
    assert commands(run)[-1] == "charge_payment:1:undo#1"


def test_a_cancel_undoes_a_step_whose_close_is_under_way() -> None:
    run = Run(PARKS)
    run.fire()
    run.skip("charge_payment", CHARGED)
    closing = run.sent
    run.cancel()
    assert commands(run)[-1] == "charge_payment:1:undo#1"
    run.ok(Done(), to=closing)
    assert run.kinds == ["late_reply"]


def test_a_refused_step_has_nothing_to_close() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("cancelled")
    assert (run.status, run.progress()[4]) == ("parked", "refused")
    assert run.instance.why_parked == "print_invoice was refused (cancelled) after the pivot"
    run.skip("print_invoice")
    assert (run.kinds, run.status) == (["too_late"], "parked")


def test_a_retry_that_changes_nothing_is_the_cause_of_nothing() -> None:
    """It parks again for the same reason: what happens later is not its doing."""

    def raises(order: PlaceOrder) -> ChargePayment:
        raise ValueError(order.order_id)

    pay = Step(raises, to="payment", compensation=refund_payment, name="pay")
    run = Run(Saga("bad", start=PlaceOrder, steps=(pay,)))
    run.retry("pay")
    assert (run.kinds, run.instance.cause) == (["unparked", "parked"], "start")

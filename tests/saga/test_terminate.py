"""Terminating: nothing is done or undone any more, every open key is closed first, and the end says what it left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.messages import FORGOTTEN, Closed, Done
from choros.saga.machine.inputs import Input, RerunRequested, SettleRequested, TerminateRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.remains import left_in_doubt, left_standing
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.nodes import Existing, Pivot, Sleep, Step
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from choros_verify import Bounds, explore
from choros_verify.exploration.bounds import TERMINATING
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS
from choros_verify.exploration.trial import try_mutant
from tests.exploration.trips import trip_saga
from tests.saga.driving import Run, at_pivot, commands, key
from tests.saga.shop import (
    CHARGED,
    ORDER,
    SHIPPED,
    ChargePayment,
    OrderConfirmed,
    PlaceOrder,
    charge_payment,
    order_saga,
    parcel_saga,
    refund_payment,
    ship_parcel,
)


def terminate(run: Run, *more: Input) -> Run:
    run.give(*more, TerminateRequested("terminate"))
    return run


def closed(run: Run, **more: Any) -> Run:
    run.ok(Closed(), **more)
    return run


def left(run: Run) -> tuple[str, list[str], list[str]]:
    assert Instance.loads(run.instance.dumps()) == run.instance
    return run.status, [*left_standing(run.saga.outline, run.instance)], [*left_in_doubt(run.instance)]


# --- what is open is closed first -------------------------------------------------------------------------------------


def test_rule_47_an_open_command_is_closed_before_the_saga_ends() -> None:
    run = terminate(at_pivot())
    assert (run.status, run.kinds) == ("running", ["terminating", "sent"])
    assert (run.sent.key, run.sent.to) == (key("ship_order", "close"), "shipping")
    closed(run)
    assert left(run) == ("terminated", ["charge_payment", "reserve_inventory"], [])
    assert run.instance.state("ship_order").progress == "closed"
    assert (run.facts, run.instance.wake_at) == ([], None)
    assert commands(run)[3:] == ["ship_order:1:close#1"], "nothing is undone"


def test_a_deadline_no_longer_counts_once_it_is_being_terminated() -> None:
    steps = (Step(charge_payment, to="payment", compensation=refund_payment),)
    run = Run(Saga("order", start=PlaceOrder, steps=steps, deadline=timedelta(seconds=1)))
    assert terminate(run).instance.deadline is None
    run.fire()
    assert "compensating" not in run.kinds and not run.instance.backward


def test_what_had_happened_by_then_is_said_to_stand() -> None:
    run = terminate(at_pivot())
    run.ok(SHIPPED, key=key("ship_order", "do"))
    assert left(run) == ("terminated", ["charge_payment", "reserve_inventory", "ship_order"], [])
    assert run.instance.state("ship_order").reply == SHIPPED.to_json()
    assert run.kinds == ["replied", "terminated"]


@pytest.mark.parametrize("code", ["no_such_address", "expired"])
def test_what_was_refused_by_then_is_not(code: str) -> None:
    run = terminate(at_pivot())
    run.refuse(code, key=key("ship_order", "do"))
    assert left(run) == ("terminated", ["charge_payment", "reserve_inventory"], [])
    assert len(run.sends) == 4


def test_the_closes_own_doing_is_no_outcome() -> None:
    run = terminate(at_pivot())
    run.refuse("cancelled", key=key("ship_order", "do"))
    assert (run.status, run.kinds) == ("running", ["late_reply"])


def test_rule_47_what_cannot_be_closed_stays_in_doubt() -> None:
    run = terminate(at_pivot())
    run.time_out(2)
    assert left(run) == ("terminated", ["charge_payment", "reserve_inventory"], ["ship_order"])
    assert run.kinds == ["timed_out", "left_in_doubt", "terminated"]


def test_a_failure_is_tried_again_and_what_was_forgotten_is_not() -> None:
    run = terminate(at_pivot())
    run.fail()
    run.fire()
    assert (run.sent.key.operation, run.sent.attempt) == ("close", 2)
    run.fail(FORGOTTEN)
    assert left(run)[2] == ["ship_order"]


def test_an_undo_on_its_way_is_closed_too() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    terminate(run)
    assert (run.sent.key, '"undo"' in run.sent.data, run.status) == (
        key("reserve_inventory", "close"),
        True,
        "compensating",
    )
    closed(run)
    assert left(run) == ("terminated", ["charge_payment", "reserve_inventory"], [])


def test_rule_2_what_nobody_can_undo_any_more_is_taken_over_by_nobody() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    closed(terminate(run))
    assert run.instance.standing == ["reserve_inventory"]
    assert "has left reserve_inventory standing" in why_not(order_saga.outline, run.instance, "ship_order")
    run.give(SettleRequested("settle", "reserve_inventory", 1))
    assert not why_not(order_saga.outline, run.instance, "reserve_inventory")


def test_rule_2_nor_what_was_in_doubt_then_and_stands() -> None:
    run = Run()
    run.time_out(2)
    closed(terminate(run))
    run.give(SettleRequested("settle", "charge_payment", 1, stands=True, reply=CHARGED.to_json()))
    assert "has left charge_payment standing" in why_not(order_saga.outline, run.instance, "reserve_inventory")


def test_what_was_closed_and_answers_afterwards_is_late_and_no_stranger() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    terminate(run)
    closed(run)
    run.ok(Done(), key=key("reserve_inventory", "undo"))
    assert run.kinds == ["late_reply"]


def test_or_has_happened() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    terminate(run)
    run.ok(Done(), key=key("reserve_inventory", "undo"))
    assert left(run) == ("terminated", ["charge_payment"], [])
    assert run.instance.failure, "it says why it was being undone"


def test_a_step_in_doubt_whose_undo_was_not_sent_is_closed_by_its_own_key() -> None:
    run = Run()
    run.time_out()
    answer = run.answer("failed", Done(), "OSError")
    terminate(run, replace(answer, attempt=2, data='{"code":"OSError"}'))
    assert [send.key.operation for send in run.last.sends] == ["close"]
    assert '"do"' in run.sent.data
    closed(run)
    assert left(run) == ("terminated", [], [])


def test_of_an_undo_that_never_was_one_does_not_know_what_there_was_to_undo() -> None:
    run = Run()
    run.time_out(2)
    assert run.sent.key.operation == "undo"
    closed(terminate(run))
    assert left(run) == ("terminated", [], ["charge_payment"])


# --- at every other moment --------------------------------------------------------------------------------------------


def test_where_nothing_is_open_it_ends_at_once() -> None:
    saga = Saga("nap", start=PlaceOrder, steps=(
        Step(charge_payment, to="payment", compensation=refund_payment),
        Sleep(timedelta(days=1)),
        Pivot(ship_parcel, to="shipping"),
    ))  # fmt: skip
    run = Run(saga)
    run.ok(CHARGED)
    terminate(run)
    assert left(run) == ("terminated", ["charge_payment"], [])
    assert run.kinds == ["terminating", "terminated"]
    assert run.instance.wake_at is None


def test_one_that_is_parked_or_paused_is_closed_as_well() -> None:
    run = at_pivot()
    run.time_out(2)
    assert run.status == "parked"
    terminate(run)
    assert (run.status, run.instance.parked_at) == ("running", {})
    run = at_pivot()
    run.pause()
    terminate(run)
    assert not run.instance.paused
    assert left(closed(run))[0] == "terminated"


def test_one_whose_closing_facts_cannot_be_built_has_nothing_open() -> None:
    def over(order: PlaceOrder) -> OrderConfirmed:
        raise LookupError(order.order_id)

    run = Run(Saga("sale", start=PlaceOrder, steps=(Pivot(ship_parcel, to="shipping"),), completed=over))
    run.ok(SHIPPED)
    assert run.instance.why_parked == "over raised LookupError"
    terminate(run)
    assert (left(run), run.facts) == (("terminated", ["ship_parcel"], []), [])


def test_what_a_participant_has_forgotten_is_not_asked_again() -> None:
    run = at_pivot()
    run.fail(FORGOTTEN)
    terminate(run)
    assert left(run) == ("terminated", ["charge_payment", "reserve_inventory"], ["ship_order"])


def test_held_facts_never_leave_and_early_ones_are_said_to_stand() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    assert [fact.type for fact in run.facts] == ["order-announced.v1"]
    terminate(run)
    run.ok(SHIPPED, key=key("ship_parcel", "do"))
    assert left(run) == ("terminated", ["charge_payment", "order_announced", "ship_parcel"], [])
    assert [fact.type for fact in run.facts] == ["order-announced.v1"]
    assert "fact_dropped" in [event.kind for event in run.events]


def test_what_is_wanted_with_an_answer_in_one_batch_sends_only_closes() -> None:
    run = Run()
    terminate(run, run.answer("ok", CHARGED))
    assert left(run) == ("terminated", ["charge_payment"], [])
    assert commands(run) == ["charge_payment:1:do#1"]


# --- afterwards -------------------------------------------------------------------------------------------------------


def test_rule_47_nothing_moves_it_any_more() -> None:
    run = terminate(at_pivot())
    for act in ("cancel", "pause", "resume", "retry", "skip"):
        getattr(run, act)(*(["ship_order"] if act in ("retry", "skip") else []))
        assert [(event.kind, event.code) for event in run.last.events] == [("too_late", act)]
    terminate(run)
    assert run.kinds == ["too_late"]
    closed(run)
    end = run.instance
    for act in ("cancel", "pause", "resume", "retry", "skip"):
        getattr(run, act)(*(["ship_order"] if act in ("retry", "skip") else []))
        assert run.kinds == ["too_late"]
    terminate(run)
    assert run.kinds == ["too_late"]
    run.ok(SHIPPED, key=key("ship_order", "do"))
    assert (run.kinds, run.instance) == (["late_reply"], end)


@pytest.mark.parametrize("status", ["completed", "compensated"])
def test_what_has_ended_is_not_terminated(status: str) -> None:
    run = at_pivot()
    if status == "completed":
        run.ok(SHIPPED)
    else:
        run.refuse("no_such_address")
        run.ok(Done())
        run.ok(Done())
    terminate(run)
    assert (run.status, run.kinds) == (status, ["too_late"])


def test_it_is_run_again_from_where_it_was_ended() -> None:
    run = closed(terminate(at_pivot()))
    assert why_not(order_saga.outline, run.instance, "ship_order") == ""
    assert [*kept_by(order_saga.outline, run.instance, "ship_order")] == ["charge_payment", "reserve_inventory"]
    run.give(RerunRequested("rerun", "ship_order", "s2"))
    assert (run.kinds, run.instance.successor) == (["rerun"], "s2")


def test_rule_47_while_something_is_in_doubt_it_is_not() -> None:
    run = terminate(at_pivot())
    run.time_out(2)
    assert why_not(order_saga.outline, run.instance, "ship_order") == (
        "It was terminated, and ship_order may stand or not: what is run again might be there twice."
    )
    run.give(RerunRequested("rerun", "ship_order", "s2"))
    assert run.kinds == ["too_late"]


def test_an_older_choros_leaves_it_alone() -> None:
    assert '"terminating":true' in terminate(at_pivot()).instance.dumps()
    assert "terminating" not in at_pivot().instance.dumps()


def test_a_dialogue_may_end_so() -> None:
    test = SagaTest(order_saga)
    test.start(ORDER)
    test.expect_command(ChargePayment).reply(CHARGED)
    test.terminate()
    with pytest.raises(AssertionError, match="the saga sent the command ReserveInventory"):
        test.expect_close()


def test_a_dialogue_closes() -> None:
    test = SagaTest(order_saga)
    test.start(ORDER)
    test.expect_command(ChargePayment)
    test.terminate()
    test.expect_close(to="payment").reply(Closed())
    assert test.status == "terminated"


# --- the proof --------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_at_whatever_moment_it_ends_as_it_says() -> None:
    found = explore(trip_saga, Bounds(acts=TERMINATING))
    assert found.complete, found.story
    assert found.ends["terminated"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["terminated without closing", "terminated goes on"])
def test_what_breaks_that_is_noticed(name: str) -> None:
    mutant = next(one for one in MUTANTS if one.name == name)
    result = try_mutant(mutant, Exploration(trip_saga, Bounds()))
    assert result.report
    assert result.caught
    assert any("terminates the saga" in line for line in result.lines())


def test_what_was_there_before_stands_until_it_was_taken_back() -> None:
    for reply, answered, standing in ((Closed(), "close", ["take_back"]), (Done(), "do", [])):
        saga = Saga("return", start=PlaceOrder, steps=(
            Existing("payment", compensation=refund_payment, name="take_back"), Pivot(ship_parcel, to="shipping"),
        ))  # fmt: skip
        run = Run(saga)
        run.refuse("no_such_address")
        assert run.sent.key == key("take_back", "do")
        terminate(run)
        run.ok(reply, key=key("take_back", answered))
        assert left(run) == ("terminated", standing, [])

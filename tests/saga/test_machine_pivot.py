"""Rule 9: the pivot in flight. From the commit that sends it, nothing is undone unless it is refused."""

import pytest

from choros.messages import Failure
from tests.saga.driving import START, Run, at_pivot, commands
from tests.saga.shop import CHARGED, SHIPPED, parcel_saga


def test_a_cancel_before_the_pivot_undoes_the_step_in_flight_and_those_before_it() -> None:
    run = Run()
    run.ok(CHARGED)
    run.cancel()
    run.ok()
    run.ok()
    assert commands(run)[2:] == ["reserve_inventory:1:undo#1", "charge_payment:1:undo#1"]
    assert run.status == "compensated"
    assert Failure.from_json(run.instance.failure) == Failure(
        code="cancelled", step="reserve_inventory", kind="cancelled"
    )


def test_rule_9_a_cancel_while_the_pivot_is_in_flight_is_only_wanted() -> None:
    run = at_pivot()
    run.cancel()
    assert (run.kinds, run.last.sends, run.instance.wanted) == (["wanted"], (), "cancelled")
    assert run.status == "running"
    run.ok(SHIPPED)
    assert run.kinds == ["replied", "pivot_passed", "too_late", "fact_published", "completed"]
    assert (run.instance.wanted, run.status) == ("", "completed")


def test_rule_9_the_deadline_while_the_pivot_is_in_flight_is_only_wanted() -> None:
    run = at_pivot()
    run.fail()
    run.now = START + 3600
    run.fire()
    assert run.kinds == ["wanted", "sent"]
    assert (run.instance.wanted, run.instance.deadline) == ("deadline", None)
    assert commands(run)[-1] == "ship_order:1:do#2"


def test_rule_9_what_is_wanted_acts_if_the_pivot_is_refused() -> None:
    run = at_pivot()
    run.cancel()
    run.refuse("no_such_address")
    assert (run.status, run.instance.wanted) == ("compensating", "")
    assert Failure.from_json(run.instance.failure).code == "no_such_address"


def test_rule_9_a_pivot_in_doubt_parks_and_is_never_compensated() -> None:
    run = at_pivot()
    run.time_out(2)
    assert (run.status, run.progress()) == ("parked", ["ok", "ok", "sent"])
    assert run.instance.why_parked == "ship_order (do) is in doubt after 2 attempts: timeout"
    run.cancel()
    assert (run.kinds, run.last.sends) == (["wanted"], ())
    run.ok(SHIPPED)
    assert run.status == "completed"


def test_a_parked_pivot_that_is_refused_after_all_turns_back() -> None:
    run = at_pivot()
    run.time_out(2)
    run.refuse("no_such_address")
    assert (run.status, run.instance.why_parked) == ("compensating", "")


def test_rule_9_after_the_pivot_a_cancel_is_too_late() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    before = run.instance
    run.cancel()
    assert (run.kinds, run.instance) == (["too_late"], before)


@pytest.mark.parametrize("turned", ["cancelled", "compensated", "completed"])
def test_a_cancel_is_too_late_once_the_saga_turned_back_or_ended(turned: str) -> None:
    run = at_pivot() if turned == "completed" else Run()
    if turned == "completed":
        run.ok(SHIPPED)
    else:
        run.cancel()
    if turned == "compensated":
        run.ok()
    before = run.instance
    run.cancel()
    assert (run.kinds, run.instance) == (["too_late"], before)


def test_a_retriable_step_in_doubt_parks() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.time_out(2)
    assert run.status == "parked"

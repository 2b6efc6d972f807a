"""Rule 3, retention: all that is sent carries when its `do` was first sent; what is forgotten parks at once."""

from __future__ import annotations

import pytest

from choros.messages import FORGOTTEN, Done
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin
from choros.saga.machine.rerun import kept_by
from tests.saga.driving import START, Run, at_pivot, commands
from tests.saga.shop import CHARGED, ORDER, SHIPPED, order_saga, parcel_saga


def test_rule_3_every_command_says_when_its_do_was_first_sent() -> None:
    run = Run()
    run.fire()
    run.now += 5
    run.ok(CHARGED)
    reserved = run.now
    run.fire()
    run.cancel()
    run.now += 50
    run.fire()
    assert [send.key.operation for send in run.sends] == ["do", "do", "do", "do", "undo", "undo"]
    assert [send.began for send in run.sends] == [START, START, *[reserved] * 4]
    run.fire()
    run.skip("reserve_inventory")
    assert (run.sent.key.operation, run.sent.began) == ("close", reserved)
    run.ok(Done())
    assert (commands(run)[-1], run.sent.began) == ("charge_payment:1:undo#1", START)


def test_a_new_round_begins_anew() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("cancelled")
    run.now += 9
    run.retry("print_invoice")
    assert (run.sent.key.round, run.sent.began) == (2, START + 9)


def test_what_an_older_choros_has_sent_carries_no_time_to_the_end() -> None:
    """Either all messages about an effect carry it, or none: its participant keeps rows for ever where none does."""
    run = Run()
    text = run.instance.dumps()
    assert f'"began":{START}' in text
    run.last = run.last.__class__(Instance.loads(text.replace(f',"began":{START}', "")))
    run.fire()
    run.cancel()
    assert [send.began for send in run.sends[1:]] == [None, None]


def test_what_is_taken_over_keeps_its_time() -> None:
    run = at_pivot()
    run.refuse("no_such_address")
    run.ok()
    run.ok()
    finished = at_pivot()
    finished.ok(SHIPPED)
    kept = kept_by(order_saga.outline, finished.instance, "ship_order")
    begun = begin(order_saga.tree, "s2", ORDER.to_json(), START + 500, cause="again", kept=kept)
    assert [state.began for state in begun.instance.nodes.values()] == [START, START, START + 500]


@pytest.mark.parametrize("operation", ["do", "undo"])
def test_rule_3_what_its_participant_has_forgotten_parks_at_once(operation: str) -> None:
    run = Run()
    if operation == "undo":
        run.cancel()
    run.fail(FORGOTTEN)
    assert (run.status, run.leg.due, run.kinds) == ("parked", None, ["failed", "parked"])
    assert f"charge_payment ({operation}): payment has forgotten" in run.instance.why_parked


def test_a_person_who_has_looked_may_skip_it() -> None:
    """Nothing is closed: what it has forgotten the participant never does again, and what it did it cannot say."""
    run = at_pivot()
    run.fail(FORGOTTEN)
    run.skip("ship_order", SHIPPED)
    assert (run.status, run.last.sends, run.kinds[0]) == ("completed", (), "skipped")
    assert not run.states[2].skipped  # nobody has promised that there is no effect


def test_a_person_may_go_on_without_the_undo() -> None:
    run = Run()
    run.ok(CHARGED)
    run.cancel()
    run.ok(Done())
    run.fail(FORGOTTEN)
    run.skip("charge_payment")
    assert (run.status, run.progress()[0]) == ("compensated", "standing")


def test_a_close_that_meets_the_horizon_parks_and_then_the_person_decides() -> None:
    run = at_pivot()
    run.time_out(2)
    run.skip("ship_order", SHIPPED)
    run.fail(FORGOTTEN)
    assert run.status == "parked"
    run.skip("ship_order", SHIPPED)
    assert run.status == "completed"


def test_it_may_be_asked_again() -> None:
    run = at_pivot()
    run.fail(FORGOTTEN)
    run.retry("ship_order")
    assert commands(run)[-1] == "ship_order:1:do#2"
    run.ok(SHIPPED)
    assert run.status == "completed"


def test_the_forgetting_of_an_earlier_attempt_changes_nothing() -> None:
    run = at_pivot()
    first = run.sent
    run.fire()
    run.fail(FORGOTTEN, to=first)
    assert (run.status, run.kinds) == ("running", ["late_reply"])
    run.fail(FORGOTTEN)
    run.ok(SHIPPED, to=first)
    assert run.status == "completed"

"""Rule 2: a saga is run again only from its end, and the new one takes over the keys of the part that it keeps."""

from __future__ import annotations

import pytest

from choros.messages import Closed
from choros.saga.machine.inputs import CancelRequested, Decision, RerunRequested, TerminateRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.saga.machine.rerun import kept_by, stands, why_not
from choros.saga.nodes import Check, Pivot, Publish, Step
from choros.saga.saga import Saga
from tests.saga.driving import START, Run, at_pivot, commands, key
from tests.saga.shop import (
    CHARGED,
    ORDER,
    RESERVED,
    SHIPPED,
    TWICE,
    PlaceOrder,
    charge_payment,
    order_announced,
    order_noted,
    order_withdrawn,
    parcel_saga,
    refund_payment,
    ship_parcel,
)


def skipped_pivot() -> Run:
    """Completed, though nothing was shipped: a person closed the step and supplied its reply."""
    run = at_pivot()
    run.time_out(2)
    run.skip("ship_order", SHIPPED)
    run.ok(to=run.sent)
    assert run.status == "completed"
    return run


def compensated() -> Run:
    run = at_pivot()
    run.refuse("no_such_address")
    run.ok()
    run.ok()
    assert run.status == "compensated"
    return run


def completed() -> Run:
    run = at_pivot()
    run.ok(SHIPPED)
    assert run.status == "completed"
    return run


def handed_over(run: Run, step: str, successor: str = "s2", act: str = "act") -> Decision:
    return run.give(RerunRequested(act, step, successor))


class Again(Run):
    """The new instance, which keeps what came before the step."""

    def __init__(self, old: Run, step: str, saga_id: str = "s2") -> None:
        handed_over(old, step, saga_id)
        self.saga, self.now, self.count = old.saga, START + 1000, 0
        self.sends, self.facts, self.events = [], [], []
        kept = kept_by(old.saga.outline, old.instance, step)
        self._take(begin(old.saga.tree, saga_id, ORDER.to_json(), self.now, cause="start", kept=kept))


# --- what is kept, and under which keys -------------------------------------------------------------------------------


def test_rule_2_the_new_one_goes_on_under_keys_of_its_own() -> None:
    again = Again(skipped_pivot(), "ship_order")
    assert [str(send.key) for send in again.sends] == ["s2:ship_order:1:do"]
    assert again.states[1].reply == RESERVED.to_json()
    assert "r1" in again.sent.data  # built from a reply that the old one was given
    again.ok(SHIPPED)
    assert again.status == "completed"


def test_rule_2_its_undo_reaches_what_it_keeps_under_the_original_keys() -> None:
    again = Again(skipped_pivot(), "ship_order")
    again.refuse("no_such_address")
    assert str(again.sent.key) == "s1:reserve_inventory:1:undo"
    again.ok()
    assert str(again.sent.key) == "s1:charge_payment:1:undo"
    assert again.sent.not_after == skipped_pivot().states[0].not_after  # the greatest one ever sent (rule 3)
    again.ok()
    assert (again.status, again.progress()) == ("compensated", ["undone", "undone", "refused"])


def test_rule_2_an_answer_under_a_key_of_its_own_is_none_to_a_step_that_it_keeps() -> None:
    again = Again(skipped_pivot(), "ship_order")
    again.refuse("no_such_address")
    forged = again.answer("ok", CHARGED, key=key("reserve_inventory", "undo", saga_id="s2"))
    assert again.give(forged).strays == (forged.id,)
    assert again.progress()[1] == "ok"


def test_rule_2_what_was_taken_over_twice_keeps_its_first_owner() -> None:
    again = Again(skipped_pivot(), "ship_order")
    again.time_out(2)
    again.skip("ship_order", SHIPPED)
    again.ok(to=again.sent)
    third = Again(again, "ship_order", "s3")
    third.refuse("no_such_address")
    assert (str(third.sends[0].key), str(third.sent.key)) == ("s3:ship_order:1:do", "s1:reserve_inventory:1:undo")


def test_rule_2_what_is_undone_begins_anew() -> None:
    again = Again(compensated(), "charge_payment")
    assert (commands(again), str(again.sent.key)) == (["charge_payment:1:do#1"], "s2:charge_payment:1:do")
    assert again.instance.deadline == again.now + 3600


def test_rule_2_facts_that_the_old_one_dropped_or_took_back_come_out_anew() -> None:
    steps = (
        Publish(order_noted),
        Publish(order_announced, early=True, retraction=order_withdrawn),
        Pivot(ship_parcel, to="shipping"),
    )
    run = Run(Saga("told", start=PlaceOrder, steps=steps))
    run.refuse("no_such_address")
    assert (run.status, run.progress()) == ("compensated", ["pending", "retracted", "refused"])
    again = Again(run, "ship_parcel")
    again.ok(SHIPPED)
    assert [fact.type for fact in again.facts] == ["order-announced.v1", "order-noted.v1"]


def undone(*steps: Step | Check | Publish) -> Run:
    """Refused at its pivot, and undone; a check among these has been answered."""
    run = Run(Saga("checked", start=PlaceOrder, steps=(*steps, Pivot(ship_parcel, to="shipping"))))
    while run.sent.key.path != "ship_parcel":
        run.ok(CHARGED)
    run.refuse("no_such_address")
    while not run.instance.terminal:
        run.ok()
    return run


CHARGE = Step(charge_payment, to="payment", compensation=refund_payment)
CHECK = Check(charge_payment, to="payment", name="look_up")


def test_an_answered_check_is_in_nobodys_way() -> None:
    run = undone(CHARGE, CHECK)
    assert run.progress() == ["undone", "ok", "refused"]
    assert not why_not(run.saga.outline, run.instance, "charge_payment")
    again = Again(run, "charge_payment")
    for reply in (CHARGED, CHARGED, SHIPPED):
        again.ok(reply)
    assert (commands(again)[1], again.status) == ("look_up:1:do#1", "completed")  # it is asked anew
    assert commands(Again(undone(CHECK, CHARGE), "charge_payment")) == ["charge_payment:1:do#1"]  # or kept


def test_a_fact_before_a_check_comes_out_anew_too() -> None:
    told = (Publish(order_noted), Publish(order_announced, early=True, retraction=order_withdrawn))
    again = Again(undone(*told, CHECK), "ship_parcel")
    again.ok(CHARGED)
    again.ok(SHIPPED)
    assert [fact.type for fact in again.facts] == ["order-announced.v1", "order-noted.v1"]


def test_a_fact_that_is_kept_is_not_told_twice_for_one_before_it_that_was_taken_back() -> None:
    told = (Publish(order_announced, early=True, retraction=order_withdrawn), Publish(order_noted))
    run = Run(Saga("told", start=PlaceOrder, steps=(*told, Pivot(ship_parcel, to="shipping", retry=TWICE))))
    run.time_out(2)
    run.skip("ship_parcel", SHIPPED)
    run.ok(to=run.sent)
    second = Again(run, "ship_parcel")
    second.refuse("no_such_address")
    assert (second.status, second.progress()) == ("compensated", ["retracted", "published", "refused"])
    assert Again(second, "ship_parcel", "s3").facts == []


def test_a_new_one_behind_the_pivot_has_no_deadline_and_cannot_be_undone() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.time_out(2)
    run.skip("print_invoice")
    run.ok(to=run.sent)
    assert run.status == "completed"
    again = Again(run, "print_invoice")
    assert (str(again.sent.key), again.instance.deadline) == ("s2:print_invoice:1:do", None)
    assert again.give(CancelRequested("cancel")).events[0].kind == "too_late"
    again.ok()
    assert [fact.type for fact in again.facts] == ["parcel-on-its-way.v1", "order-confirmed.v1"]  # none of the kept


# --- once, and from nowhere else --------------------------------------------------------------------------------------


def test_rule_2_it_has_one_successor_and_no_second() -> None:
    run = skipped_pivot()
    assert handed_over(run, "ship_order").events[0].kind == "rerun"
    for successor in ("s2", "s3"):
        assert [event.kind for event in handed_over(run, "ship_order", successor).events] == ["too_late"]
    assert (run.instance.successor, run.instance.rerun_from) == ("s2", "ship_order")
    assert "s2" in why_not(run.saga.outline, run.instance, "ship_order")


def test_rule_2_of_two_at_once_the_first_wins() -> None:
    run = skipped_pivot()
    acts = [RerunRequested("a", "ship_order", "s2"), RerunRequested("b", "ship_order", "s3")]
    decision = decide(run.saga.tree, run.instance, acts, run.now)
    assert [event.kind for event in decision.events] == ["rerun", "too_late"]
    assert decision.instance.successor == "s2"


@pytest.mark.parametrize("run", [Run(), at_pivot()], ids=["running", "pivot in flight"])
def test_rule_2_only_from_its_end(run: Run) -> None:
    assert "running" in why_not(run.saga.outline, run.instance, "charge_payment")
    assert [event.kind for event in handed_over(run, "charge_payment").events] == ["too_late"]
    assert not run.instance.successor


@pytest.mark.parametrize(
    ("old", "step", "words"),
    [
        (completed, "charge_payment", "charge_payment still stands"),
        (completed, "ship_order", "ship_order still stands"),
        (skipped_pivot, "reserve_inventory", "reserve_inventory still stands"),
        (compensated, "ship_order", "charge_payment does not stand any more.*from charge_payment"),
        (compensated, "nowhere", "commands no step 'nowhere'"),
    ],
)
def test_rule_2_never_where_an_effect_would_be_there_twice_or_nobodys(old: object, step: str, words: str) -> None:
    assert callable(old)
    run: Run = old()
    with pytest.raises(ValueError, match=words):
        raise ValueError(why_not(run.saga.outline, run.instance, step))
    handed_over(run, step)
    assert not run.instance.successor


def test_a_fact_is_no_step_to_run_again_from() -> None:
    run = Run(parcel_saga)
    run.cancel()
    run.ok()
    assert run.status == "compensated"
    assert "commands no step" in why_not(run.saga.outline, run.instance, "order_noted")
    assert why_not(run.saga.outline, run.instance, "charge_payment") == ""


def test_a_step_that_was_skipped_does_not_stand_and_one_answered_in_spite_of_the_close_does() -> None:
    assert [stands(state) for state in skipped_pivot().states] == [True, True, False]
    run = at_pivot()
    run.time_out(2)
    run.skip("ship_order", SHIPPED)
    run.ok(SHIPPED, key=key("ship_order", "do"))  # the participant had carried it out after all
    assert [stands(state) for state in run.states] == [True, True, True]


def test_records_from_before_can_still_be_read() -> None:
    run = completed()
    assert not {"successor", "rerun_from", "owner", "skipped"} & set(run.instance.dumps().replace('"', " ").split())
    assert Instance.loads(run.instance.dumps()) == run.instance


def test_a_fact_that_was_held_when_it_was_terminated_is_told_by_the_new_one() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.give(TerminateRequested("terminate"))
    run.ok(SHIPPED, key=key("ship_parcel", "do"))
    assert [fact.type for fact in run.facts] == ["order-announced.v1"]
    again = Again(run, "print_invoice")
    assert [fact.type for fact in again.facts] == ["order-noted.v1"], "the pivot is passed"
    again.ok(key=key("print_invoice", "do", saga_id="s2"))
    assert [fact.type for fact in again.facts] == ["order-noted.v1", "parcel-on-its-way.v1", "order-confirmed.v1"]


def test_before_the_pivot_it_is_held_by_the_new_one_too() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.give(TerminateRequested("terminate"))
    run.ok(Closed(), key=key("ship_parcel", "close"))
    again = Again(run, "ship_parcel")
    assert again.facts == []
    again.ok(SHIPPED, key=key("ship_parcel", "do", saga_id="s2"))
    assert [fact.type for fact in again.facts] == ["order-noted.v1"]

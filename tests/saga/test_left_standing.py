"""An undo that fails for good and is skipped, by policy or by a person: it is closed, and the end says what it left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from choros.errors import DeclarationError, UsageError
from choros.messages import FORGOTTEN, Closed, Done, Message
from choros.runtime.client.outcome import outcome_of
from choros.runtime.client.settling import settling
from choros.runtime.orchestrator.labels import UNSETTLED, label_entries
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import RerunRequested, SettleRequested, TerminateRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin
from choros.saga.machine.remains import left_standing
from choros.saga.machine.rerun import why_not
from choros.saga.nodes import Branch, Existing, Local, Parallel, Pivot, Scope, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing import SagaTest
from choros_verify import Bounds, explore
from choros_verify.exploration.bounds import TERMINATING
from tests.saga.driving import Run, at_pivot, commands, key
from tests.saga.shop import (
    CHARGED,
    ORDER,
    RESERVED,
    SHIPPED,
    TWICE,
    ChargePayment,
    OrderRejected,
    PlaceOrder,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ShipOrder,
    charge_payment,
    order_confirmed,
    order_rejected,
    order_saga,
    refund_payment,
    release_inventory,
    reserve_inventory,
    ship_order,
    ship_parcel,
)

PAY = Step(charge_payment, to="payment", compensation=refund_payment, undo_retry=TWICE)
HOLD = Step(
    reserve_inventory, to="inventory", compensation=release_inventory, retry=TWICE, undo_retry=TWICE,
    undo_exhausted="skip",
)  # fmt: skip


def saga_of(*steps: Any, **more: Any) -> Saga[PlaceOrder]:
    return Saga("order", start=PlaceOrder, steps=steps, **more)


going_on = saga_of(PAY, HOLD, Pivot(ship_order, to="shipping"), completed=order_confirmed, compensated=order_rejected)
"""Goes on without the undo of its second step."""


def undoing(saga: Saga[Any] = going_on) -> Run:
    """The undo of the second step has just been sent."""
    run = at_pivot(saga)
    run.refuse("no_such_address")
    return run


def left(run: Run) -> list[str]:
    return [*left_standing(run.saga.outline, run.instance)]


def settle(run: Run, step: str, **more: Any) -> Run:
    run.give(SettleRequested("settle", step, run.instance.state(step).round, **more))
    return run


def ended(saga: Saga[Any] = going_on) -> Run:
    """Compensated, but for the second step."""
    run = undoing(saga)
    run.time_out(2)
    run.ok(Closed())
    run.ok()
    return run


# --- by policy --------------------------------------------------------------------------------------------------------


def test_rule_47_it_is_closed_first_and_only_then_passed_over() -> None:
    run = undoing()
    run.time_out()
    assert commands(run)[-1] == "reserve_inventory:1:undo#2"
    run.time_out()
    assert (run.sent.key, json.loads(run.sent.data)) == (key("reserve_inventory", "close"), {"of": "undo"})
    assert (run.status, left(run)) == ("compensating", [])
    run.ok(Closed())
    assert (run.kinds, commands(run)[-1]) == (["skipped", "left_standing", "sent"], "charge_payment:1:undo#1")
    why = next(event.code for event in run.events if event.kind == "left_standing")
    assert why == "reserve_inventory (undo) is in doubt after 2 attempts: timeout"


def test_rule_47_the_end_says_so_and_no_fact_claims_a_clean_undo() -> None:
    run = ended()
    assert (run.status, left(run), run.facts) == ("compensated", ["reserve_inventory"], [])
    assert run.progress() == ["undone", "standing", "refused"]
    assert run.kinds[-2:] == ["fact_withheld", "compensated"]
    outcome = outcome_of(run.instance)
    assert (outcome.ended, outcome.left_standing) == (True, ("reserve_inventory",))
    assert Instance.loads(run.instance.dumps()) == run.instance


def test_an_undo_that_landed_before_its_close_counts() -> None:
    run = undoing()
    undo = run.sent
    run.time_out(2)
    run.ok(to=undo)
    run.ok()
    assert (run.status, left(run), [fact.type for fact in run.facts]) == ("compensated", [], ["order-rejected.v1"])


def test_an_undo_that_comes_after_its_close_is_late() -> None:
    run = ended()
    run.ok(key=key("reserve_inventory", "undo"))
    assert (run.kinds, left(run)) == (["late_reply"], ["reserve_inventory"])


def test_what_cannot_be_closed_waits_for_a_person() -> None:
    run = undoing()
    run.time_out(4)
    assert run.instance.why_parked == "reserve_inventory (close) is in doubt after 2 attempts: timeout"
    run.skip("reserve_inventory")
    run.ok(Closed())
    run.ok()
    assert (run.status, left(run)) == ("compensated", ["reserve_inventory"])


@pytest.mark.parametrize(
    ("attempts", "why"),
    [
        (0, "reserve_inventory (undo): inventory has forgotten what became of it"),
        (2, "reserve_inventory (undo) is in doubt after 2 attempts: timeout"),
    ],
)
def test_what_its_service_has_forgotten_is_as_good_as_closed(attempts: int, why: str) -> None:
    run = undoing()
    run.time_out(attempts)
    run.fail(FORGOTTEN)
    assert [event.code for event in run.last.events if event.kind == "left_standing"] == [why]
    assert (run.instance.state("reserve_inventory").progress, run.sent.key) == (
        "standing",
        key("charge_payment", "undo"),
    )


def test_nothing_is_sent_while_the_saga_is_paused() -> None:
    run = undoing(saga_of(PAY, replace(HOLD, undo_retry=RetryPolicy(attempts=1)), Pivot(ship_order, to="shipping")))
    run.pause()
    run.fail()
    assert (run.last.sends, run.instance.wake_at is None) == ((), False)
    run.fire()
    assert run.last.sends == ()
    run.resume()
    run.fire()
    assert commands(run)[-1] == "reserve_inventory:1:close#1"


def test_only_its_undo_is_skipped() -> None:
    """Its `do` waits for a person as ever, where that is wanted."""
    parks = replace(HOLD, retry=replace(TWICE, exhausted="park"))
    run = Run(saga_of(PAY, parks, Pivot(ship_order, to="shipping")))
    run.ok(CHARGED)
    run.time_out(2)
    assert run.status == "parked"


def test_what_is_undone_before_the_saga_began_may_be_skipped_as_well() -> None:
    before = Existing("payment", compensation=refund_payment, name="take_back", undo_retry=TWICE, undo_exhausted="skip")
    run = Run(saga_of(before, Pivot(ship_parcel, to="shipping"), compensated=order_rejected))
    run.refuse("no_such_address")
    run.time_out(2)
    assert (commands(run)[-1], run.sent.data) == ("take_back:1:close#1", '{"of":"do"}')
    run.ok(Closed())
    assert (run.status, left(run), run.facts) == ("compensated", ["take_back"], [])


def test_a_local_step_takes_it_too() -> None:
    local = Local(
        charge_payment, to="ledger", compensation=refund_payment, undo_retry=TWICE, undo_exhausted="skip", name="book"
    )
    run = Run(saga_of(local, Pivot(ship_parcel, to="shipping")))
    run.ok(CHARGED)
    run.refuse("no_such_address")
    run.time_out(2)
    run.ok(Closed())
    assert left(run) == ["book"]


@pytest.mark.parametrize("kind", [Step, Local, Existing])
def test_any_other_word_means_nothing(kind: Any) -> None:
    more = {"compensation": refund_payment, "to": "payment", "undo_exhausted": "ignore"}
    given = more if kind is Existing else {"action": charge_payment, **more}
    with pytest.raises(DeclarationError, match="undo_exhausted='ignore' means nothing"):
        saga_of(kind(**given), Pivot(ship_parcel, to="shipping"))


def test_it_is_no_part_of_the_fingerprint() -> None:
    parks = saga_of(PAY, replace(HOLD, undo_exhausted="park"), Pivot(ship_order, to="shipping"))
    assert saga_of(PAY, HOLD, Pivot(ship_order, to="shipping")).fingerprint == parks.fingerprint


def test_pictures_and_words_say_it() -> None:
    assert '|"undo: ReleaseInventory or left standing"|' in mermaid(going_on)
    assert any("undone by ReleaseInventory, or left standing where that fails" in line for line in outline(going_on))
    existing = saga_of(
        Existing("payment", compensation=refund_payment, undo_exhausted="skip"), Pivot(ship_parcel, to="shipping")
    )
    assert any("to payment, or left standing where that fails" in line for line in outline(existing))


# --- losers, scopes, orders -------------------------------------------------------------------------------------------


def test_a_loser_that_is_left_standing_holds_up_nobody() -> None:
    race = saga_of(
        Parallel(Branch("pay", replace(PAY, undo_exhausted="skip")), HOLD, first=1, name="race"),
        Pivot(ship_parcel, to="shipping"), completed=order_confirmed,
    )  # fmt: skip
    run = Run(race)
    pay, hold = run.sends
    run.ok(CHARGED, to=pay)
    undo = run.sent
    assert undo.key == key("race.reserve_inventory", "undo")
    for attempt in (1, 2):
        run.fail(to=replace(undo, attempt=attempt))
        if attempt == 1:
            run.fire()
    assert run.sent.key == key("race.reserve_inventory", "close")
    run.ok(Closed())
    assert commands(run)[-1] == "ship_parcel:1:do#1", "nobody is busy any more"
    run.ok(RESERVED, to=hold)
    assert run.kinds == ["late_reply"]
    run.ok(SHIPPED, key=key("ship_parcel", "do"))
    assert (run.status, left(run)) == ("completed", ["race.reserve_inventory"])
    assert [fact.type for fact in run.facts] == ["order-confirmed.v1"], "that claims no clean undo"


def test_a_loser_that_is_left_standing_stays_so_when_the_saga_turns() -> None:
    run = Run(saga_of(Parallel(PAY, HOLD, first=1, name="race"), Pivot(ship_parcel, to="shipping")))
    run.ok(CHARGED, to=run.sends[0])
    run.time_out(2)
    run.ok(Closed())
    run.refuse("no_such_address")
    run.ok()
    assert (run.status, left(run)) == ("compensated", ["race.reserve_inventory"])


def test_a_scope_goes_its_other_way_past_what_is_left_standing() -> None:
    other = Step(charge_payment, to="payment", compensation=refund_payment, name="other")
    tried = Scope(HOLD, Step(charge_payment, to="payment", compensation=refund_payment), otherwise=other)
    run = Run(saga_of(tried, Pivot(ship_parcel, to="shipping"), compensated=order_rejected))
    run.ok(RESERVED)
    run.refuse("card_declined")
    run.time_out(2)
    run.ok(Closed())
    assert commands(run)[-1] == "scope.other:1:do#1"
    run.ok(CHARGED)
    run.refuse("no_such_address")
    run.ok()
    assert (run.status, left(run), run.facts) == ("compensated", ["scope.reserve_inventory"], [])


def test_by_dependency_nobody_waits_for_it_any_longer() -> None:
    """Shipping asks for the reservation, and so waits; what the reservation rests on is undone then."""

    def hold_again(order: PlaceOrder, charge_payment: Message) -> ReserveInventory:
        return ReserveInventory(order_id=order.order_id)

    hold_again.__annotations__["charge_payment"] = type(CHARGED)
    hold = replace(HOLD, action=hold_again, name="reserve_inventory")
    run = at_pivot(saga_of(PAY, hold, Pivot(ship_order, to="shipping"), undo="by_dependency"))
    run.refuse("no_such_address")
    assert commands(run)[-1] == "reserve_inventory:1:undo#1"
    run.time_out(2)
    run.ok(Closed())
    assert commands(run)[-1] == "charge_payment:1:undo#1"


# --- by a person ------------------------------------------------------------------------------------------------------


def test_rule_47_a_skip_of_an_undo_leaves_the_step_standing() -> None:
    run = undoing(order_saga)
    run.time_out(2)
    assert run.status == "parked"
    run.skip("reserve_inventory")
    assert [event.kind for event in run.last.events] == ["unparked", "sent"]
    run.ok(Closed())
    run.ok()
    assert (run.status, left(run), run.facts) == ("compensated", ["reserve_inventory"], [])


def test_what_a_person_has_undone_by_hand_is_undone() -> None:
    run = undoing(order_saga)
    run.time_out(2)
    settle(run, "reserve_inventory")
    assert (run.sent.key, json.loads(run.sent.data)) == (key("reserve_inventory", "close"), {"of": "undo"})
    run.ok(Closed())
    assert (run.kinds[0], run.instance.state("reserve_inventory").progress) == ("by_hand", "undone")
    run.ok()
    assert (run.status, left(run), [fact.type for fact in run.facts]) == ("compensated", [], ["order-rejected.v1"])


def test_so_is_what_its_service_has_forgotten() -> None:
    run = undoing(order_saga)
    run.fail(FORGOTTEN)
    settle(run, "reserve_inventory")
    assert (run.kinds[0], run.instance.state("reserve_inventory").progress) == ("by_hand", "undone")


def test_only_an_undo_is_done_by_hand() -> None:
    run = at_pivot()
    run.time_out(2)
    settle(run, "ship_order")
    assert run.kinds == ["too_late"]
    run = undoing(order_saga)
    settle(run, "reserve_inventory")
    assert run.kinds == ["too_late"], "it is not parked"
    run.time_out(2)
    settle(run, "reserve_inventory", stands=True)
    settle(run, "nowhere")
    assert run.kinds == ["too_late"]


# --- settled ----------------------------------------------------------------------------------------------------------


def test_rule_47_it_is_not_run_again_until_that_is_settled() -> None:
    run = ended()
    assert why_not(going_on.outline, run.instance, "charge_payment") == (
        "It has left reserve_inventory standing: what is run again might be there twice."
    )
    run.give(RerunRequested("rerun", "charge_payment", "s2"))
    assert run.kinds == ["too_late"]
    settle(run, "reserve_inventory")
    assert why_not(going_on.outline, run.instance, "charge_payment") == ""


def test_once_it_is_undone_by_hand_the_facts_leave() -> None:
    run = settle(ended(), "reserve_inventory")
    assert (run.kinds, run.status, left(run)) == (["by_hand", "fact_published"], "compensated", [])
    assert [(fact.type, json.loads(fact.data), fact.seq) for fact in run.facts] == [
        ("order-rejected.v1", {"order_id": "o1", "code": "no_such_address"}, 1)
    ]
    assert run.instance.withheld == ()
    end = run.instance
    settle(run, "reserve_inventory")
    assert (run.kinds, run.instance, len(run.facts)) == (["too_late"], end, 1)


def test_of_several_the_last_one_lets_them_leave() -> None:
    run = at_pivot(
        saga_of(replace(PAY, undo_exhausted="skip"), HOLD, Pivot(ship_order, to="shipping"), compensated=order_rejected)
    )
    run.refuse("no_such_address")
    for _ in range(2):
        run.time_out(2)
        run.ok(Closed())
    assert left(run) == ["charge_payment", "reserve_inventory"]
    settle(run, "charge_payment")
    assert run.kinds == ["by_hand"]
    settle(run, "reserve_inventory")
    assert run.kinds == ["by_hand", "fact_published"]


def doubtful() -> Run:
    run = at_pivot()
    run.give(TerminateRequested("terminate"))
    run.time_out(2)
    return run


@pytest.mark.parametrize("stands", [True, False])
def test_rule_47_what_is_in_doubt_after_a_terminate_is_settled_either_way(stands: bool) -> None:
    run = doubtful()
    assert why_not(order_saga.outline, run.instance, "ship_order")
    settle(run, "ship_order", stands=stands, reply=SHIPPED.to_json() if stands else "")
    assert run.instance.state("ship_order").progress == ("ok" if stands else "closed")
    again = why_not(order_saga.outline, run.instance, "ship_order")
    assert again == ("ship_order still stands, and would be there twice." if stands else "")
    assert ("ship_order" in left(run)) is stands


def test_what_was_there_before_is_undone_once_somebody_says_so() -> None:
    before = Existing("payment", compensation=refund_payment, name="take_back", undo_retry=TWICE)
    run = Run(saga_of(before, Pivot(ship_parcel, to="shipping", retry=TWICE)))
    run.refuse("no_such_address")
    run.give(TerminateRequested("terminate"))
    run.time_out(2)
    assert run.instance.state("take_back").progress == "in_doubt"
    settle(run, "take_back")
    assert run.instance.state("take_back").progress == "undone"


def test_an_act_says_which_round_is_meant() -> None:
    run = ended()
    run.give(SettleRequested("settle", "reserve_inventory", 2))
    assert run.kinds == ["too_late"]


def test_a_saga_that_is_terminated_meanwhile_says_what_stands() -> None:
    run = undoing()
    run.time_out(2)
    run.ok(Closed())
    run.give(TerminateRequested("terminate"))
    run.ok(Closed())
    assert (run.status, left(run)) == ("terminated", ["charge_payment", "reserve_inventory"])


# --- who is told ------------------------------------------------------------------------------------------------------


def labels(run: Run, before: Instance) -> Mapping[str, str]:
    return label_entries(run.saga, before, run.instance, run.last.events)


def test_it_is_found_by_a_label_until_it_is_settled() -> None:
    run = undoing()
    run.time_out(2)
    before = run.instance
    run.ok(Closed())
    assert labels(run, before) == {f"label:{UNSETTLED}": "1"}
    run.ok()
    before = run.instance
    settle(run, "reserve_inventory")
    assert labels(run, before) == {f"label:{UNSETTLED}": ""}


def test_so_is_what_is_in_doubt() -> None:
    run = at_pivot()
    run.give(TerminateRequested("terminate"))
    run.time_out()
    before = run.instance
    run.time_out()
    assert labels(run, before) == {f"label:{UNSETTLED}": "1"}
    before = run.instance
    settle(run, "ship_order")
    assert labels(run, before) == {f"label:{UNSETTLED}": ""}


def test_which_one_is_meant_need_not_be_said_where_there_is_one() -> None:
    run = ended()
    act = settling(going_on, run.instance, None, None, stands=False)
    assert (act.step, act.round, act.stands, act.reply) == ("reserve_inventory", 1, False, "")
    act = settling(order_saga, doubtful().instance, "ship_order", SHIPPED, stands=True)
    assert (act.stands, act.reply) == (True, SHIPPED.to_json())
    parked = undoing(order_saga)
    parked.time_out(2)
    assert settling(order_saga, parked.instance, None, None, stands=False).step == "reserve_inventory"


@pytest.mark.parametrize(
    ("run", "step", "reply", "stands", "said"),
    [
        (ended, "charge_payment", None, False, "Of charge_payment of saga s1 nothing is to be settled."),
        (ended, None, SHIPPED, False, "Nobody asks for a reply of reserve_inventory."),
        (ended, None, None, True, "reserve_inventory stands already, and the saga says so."),
        (doubtful, None, None, True, "ship_order stands, and nobody knows what it replied."),
        (doubtful, None, CHARGED, True, "ship_order stands, and nobody knows what it replied."),
        (at_pivot, None, None, False, "Of saga s1 nothing is to be settled: it is running."),
    ],
)
def test_what_is_not_to_be_settled_so(run: Any, step: str | None, reply: Any, stands: bool, said: str) -> None:
    made = run()
    with pytest.raises(UsageError) as refused:
        settling(made.saga, made.instance, step, reply, stands=stands)
    assert refused.value.sentence == said


def test_of_several_one_has_to_be_named() -> None:
    run = at_pivot(saga_of(replace(PAY, undo_exhausted="skip"), HOLD, Pivot(ship_order, to="shipping")))
    run.refuse("no_such_address")
    for _ in range(2):
        run.time_out(2)
        run.ok(Closed())
    with pytest.raises(UsageError) as refused:
        settling(run.saga, run.instance, None, None, stands=False)
    assert refused.value.hint == "--step, one of charge_payment, reserve_inventory."


def test_a_dialogue() -> None:
    test = SagaTest(going_on)
    test.start(ORDER)
    test.expect_command(ChargePayment).reply(CHARGED)
    test.expect_command(ReserveInventory).reply(RESERVED)
    test.expect_command(ShipOrder).refuse("no_such_address")
    test.expect_compensation(ReleaseInventory).time_out()
    test.expect_compensation(ReleaseInventory).time_out()
    test.expect_close(to="inventory").reply(Closed())
    test.expect_compensation(RefundPayment).reply(Done())
    test.expect_facts()
    assert (test.status, test.left_standing) == ("compensated", ["reserve_inventory"])
    test.settle("reserve_inventory")
    test.expect_facts(OrderRejected)
    assert test.left_standing == []


def test_a_choros_that_does_not_know_this_leaves_the_instance_alone() -> None:
    run = undoing()
    run.time_out(2)
    assert '"gives_up":"' in run.instance.dumps()
    run.ok(Closed())
    assert '"progress":"standing"' in run.instance.dumps()
    before = begin(going_on.tree, "s", ORDER.to_json(), 0.0, cause="c").instance.dumps()
    assert "gives_up" not in before and "withheld" not in before


@pytest.mark.nightly
@pytest.mark.parametrize("bounds", [Bounds(), Bounds(acts=TERMINATING)], ids=["acts", "terminate"])
def test_rule_47_at_whatever_moment_it_leaves_what_it_says(bounds: Bounds) -> None:
    found = explore(going_on, bounds)
    assert found.complete, found.story
    assert found.ends["compensated"] > 10

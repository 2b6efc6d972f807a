"""`Nested`: a saga as a step of another one, undone by that, and released when nobody can undo it any more."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Closed, Done, Failure, NestedCommand
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import (
    Answered,
    OrderReceived,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    Send,
    SkipRequested,
    TerminateRequested,
)
from choros.saga.machine.instance import Order
from choros.saga.machine.remains import left_in_doubt, left_standing
from choros.saga.machine.rerun import why_not
from choros.saga.machine.turn import AT_ONCE
from choros.saga.nesting import nested_in
from choros.saga.nodes import Check, ForEach, Nested, Parallel, Pivot, Scope, Step, When
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from tests.saga.credit import (
    HELD,
    CreditClosed,
    CreditReserved,
    Held,
    HoldStock,
    Noted,
    PlaceOrder,
    ReserveCredit,
    Ship,
    credit_saga,
    final_credit_saga,
    give_credit_back,
    give_stock_back,
    hold_credit,
    order_of,
    order_saga,
    pivot_saga,
    plain_saga,
    reserve_credit,
    ship,
)
from tests.saga.family import START, Family

CHILD = "p:credit:1"
DAY, NO_TIME = timedelta(days=1), timedelta(0)
TOO_MUCH = Failure(code="too_much", detail="more than he has")


def key_of(step: str) -> CommandKey:
    """Of a step of the nested saga."""
    return CommandKey("p.credit.1", step, 1, "do")


def ship_it(order: PlaceOrder) -> Ship:
    return Ship(order=order.order, credit="none")


def look(order: PlaceOrder) -> Ship:
    return Ship(order=order.order, credit="none")


def hold_other(order: PlaceOrder) -> HoldStock:
    return HoldStock(order=order.order)


def at_child(saga: Saga[PlaceOrder] = order_saga) -> Family:
    """The stock is held, and the credit saga has begun."""
    family = Family(saga, credit_saga, final_credit_saga)
    family.ok("", Held())
    family.settle()
    return family


def behind_child(saga: Saga[PlaceOrder] = order_saga) -> Family:
    """The same, and its end is known."""
    family = at_child(saga)
    family.ok(CHILD, Held(hold="h7"))
    family.ok(CHILD, Noted())
    family.settle()
    return family


def test_it_is_begun_by_its_start_message_and_what_it_comes_to_is_known_behind_it() -> None:
    family = at_child()
    assert family.child.instance.start == ReserveCredit(total=10).to_json()
    assert family.parent.waiting == ["credit:do"]
    family.ok(CHILD, Held(hold="h7"))
    family.ok(CHILD, Noted())
    family.settle()
    assert family.parent.sends[-1].data == '{"order":"o1","credit":"k-h7"}'
    assert family.parent.instance.state("credit").reply == CreditReserved(credit="k-h7").to_json()


def test_rule_44_a_completed_nested_saga_is_revocable_until_the_pivot_is_passed() -> None:
    family = behind_child()
    assert (family.child.status, family.child.instance.stage) == ("running", "revocable")
    assert not family.child.facts
    family.ok()
    assert family.parent.waiting == ["credit:release"], "it is told that it will never be undone"
    assert family.parent.status == "running"
    family.deliver()
    assert family.child.status == "completed"
    assert family.child.facts == ["credit-taken.v1", "credit-closed.v1"]
    family.settle()
    assert family.parent.status == "completed"
    assert family.parent.facts == ["order-done.v1"]


def test_a_release_may_not_be_refused_so_it_is_sent_again() -> None:
    family = behind_child()
    family.ok()
    refused = Failure(code="expired", kind="refused").to_json()
    family.give("", Answered("no", CommandKey("p", "credit", 1, "release"), 1, "refused", refused, "expired"))
    assert family.parent.waiting == ["credit:release"]
    assert family.parent.kinds("undeclared_refusal", "retry_scheduled", "refused") == [
        "undeclared_refusal", "retry_scheduled",
    ]  # fmt: skip
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "completed")


def test_rule_44_without_a_pivot_it_is_revocable_until_the_end() -> None:
    family = behind_child(plain_saga)
    assert family.parent.waiting == [], "released"
    assert (family.parent.status, family.child.status) == ("completed", "completed")
    assert family.child.kinds("revocable", "completed") == ["revocable", "completed"]


def test_rule_44_from_the_first_release_on_a_cancel_comes_too_late() -> None:
    family = at_child(plain_saga)
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    family.bring_back()
    family.cancel()
    assert family.parent.kinds("too_late", "compensating") == ["too_late"]
    family.settle()
    assert family.parent.status == "completed"


def test_rule_44_nobody_else_undoes_what_the_other_saga_relies_on() -> None:
    family = behind_child()
    family.cancel(CHILD)
    assert family.child.kinds("too_late") == ["too_late"]
    assert family.child.instance.stage == "revocable"
    assert why_not(credit_saga.outline, family.child.instance, "hold_credit").startswith("The saga is running")


def test_rule_44_it_is_undone_by_its_own_compensations_newest_first() -> None:
    family = behind_child()
    family.refuse("", "no_lorry")
    family.deliver()
    assert family.child.instance.result == ""
    assert family.child.sends[-1].key.path == "note_credit"
    family.ok(CHILD)
    assert family.child.sends[-1].key.path == "hold_credit"
    family.ok(CHILD)
    assert family.parent.waiting == ["credit:undo"]
    family.bring_back()
    assert family.parent.sends[-1].key.path == "hold_stock"
    family.ok()
    assert (family.parent.status, family.child.status) == ("compensating", "compensating")
    family.settle()
    assert (family.parent.status, family.child.status) == ("compensated", "compensated")
    assert family.child.facts == ["credit-denied.v1"]


def once(order: PlaceOrder) -> list[int]:
    return [1]


def test_in_a_loop_it_is_undone_whatever_a_loop_beside_it_passes_over() -> None:
    stocks, credits = ForEach(once, HELD, name="stocks"), ForEach(once, Nested(credit_saga, reserve_credit), name="one")
    both = Parallel(stocks, credits, undo="side_by_side", name="both")
    family = Family(order_of(both, Pivot(hold_other, to="lorries")), credit_saga)
    child = "p:both.one[0].credit:1"
    family.ok("", Held(), at="both.stocks[0].hold_stock")
    family.settle()
    family.ok(child, Held(hold="h7"))
    family.ok(child, Noted())
    family.settle()
    family.refuse("", "sold_out")
    assert sorted(family.parent.waiting) == ["both.one[0].credit:undo", "both.stocks[0].hold_stock:undo"]


def test_what_is_refused_in_it_is_its_refusal() -> None:
    family = at_child()
    family.ok(CHILD, Held())
    family.refuse(CHILD, "no_book")
    family.ok(CHILD)
    family.bring_back()
    assert Failure.from_json(family.parent.instance.failure) == Failure(
        code="no_book", step="credit", kind="refused", detail=""
    )
    assert family.parent.sends[-1].key.operation == "undo", "the stock alone: nothing of the credit stands"
    family.ok()
    family.settle()
    assert (family.parent.status, family.child.status) == ("compensated", "compensated")


def test_rule_44_a_running_one_is_undone_and_answers_when_it_is() -> None:
    family = at_child()
    family.ok(CHILD, Held())
    family.cancel()
    family.deliver()
    assert family.child.waiting == ["note_credit:undo"]
    assert not family.replies
    family.ok(CHILD)
    family.ok(CHILD)
    family.settle()
    assert family.parent.sends[-1].key.path == "hold_stock"
    assert family.child.instance.parent.outcome == "cancelled"  # type: ignore[union-attr]


def test_rule_44_an_undo_before_the_start_leaves_a_tombstone() -> None:
    family = Family(order_saga, credit_saga)
    family.ok("", Held())
    start = family.orders.pop()
    family.cancel()
    family.deliver()
    assert family.child.kinds("never_begun", "started") == ["never_begun"]
    family.bring_back()
    assert family.parent.sends[-1].key.path == "hold_stock", "there is nothing else to undo"
    family.deliver(start)
    assert not family.child.sends
    family.settle()
    family.ok()
    family.settle()
    assert (family.parent.status, family.child.status) == ("compensated", "compensated")
    assert not family.child.facts


def test_a_repeated_start_begins_one_and_is_answered_again() -> None:
    family = at_child()
    start = family.parent.instance.state("credit").leg
    assert start is not None
    family.fire()
    family.settle()
    assert family.child.kinds("started") == ["started"]
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    lost, again = family.replies.pop(), family.fire()
    assert again.sends[0].key.operation == "do" and again.sends[0].data == start.command
    family.deliver()
    assert family.replies[0][1].data == lost[1].data
    family.settle()
    assert family.parent.sends[-1].key.path == "ship"


def test_it_is_asked_again_for_as_long_as_it_takes() -> None:
    family = at_child()
    for _ in range(500):
        family.fire()
    assert family.parent.status == "running"
    assert family.now > 500 * 600


def test_within_a_time_it_is_in_doubt_and_undone() -> None:
    within = timedelta(minutes=25)
    family = at_child(order_of(HELD, Nested(credit_saga, reserve_credit, within=within), Pivot(ship, to="lorries")))
    for _ in range(3):
        family.fire()
    assert Failure.from_json(family.parent.instance.failure).kind == "in_doubt"
    assert family.parent.waiting == ["credit:undo"]
    family.settle()
    family.ok(CHILD)
    family.settle()
    assert family.parent.sends[-1].key.path == "hold_stock"


# --- as the pivot ---


def test_rule_25_a_saga_with_a_pivot_is_the_pivot() -> None:
    assert pivot_saga.outline.pivots == ("credit",)
    with pytest.raises(DeclarationError, match="has two pivots, credit and ship"):
        order_of(Nested(final_credit_saga, reserve_credit, name="credit"), Pivot(ship, to="lorries"))
    with pytest.raises(DeclarationError, match="there is a pivot in parallel"):
        order_of(Parallel(HELD, Nested(final_credit_saga, reserve_credit)))


def test_rule_25_a_cancel_while_it_is_in_flight_is_wanted_and_handed_on_and_its_answer_decides() -> None:
    family = at_child(pivot_saga)
    family.ok(CHILD, Held())
    assert family.child.waiting == ["note_credit:do"], "its pivot is in flight"
    family.cancel()
    assert family.parent.kinds("wanted", "compensating") == ["wanted"]
    assert family.parent.waiting == ["credit:cancel"]
    family.settle()
    assert family.child.kinds("wanted", "compensating") == ["wanted"]
    family.ok(CHILD, Noted())
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "completed")
    assert family.child.facts == ["credit-taken.v1", "credit-closed.v1"]
    assert family.parent.kinds("too_late") == ["too_late"]


def test_rule_25_handed_on_before_its_pivot_it_is_undone() -> None:
    family = at_child(pivot_saga)
    family.cancel()
    family.settle()
    assert family.child.waiting == ["hold_credit:undo"]
    family.ok(CHILD)
    family.settle()
    assert Failure.from_json(family.parent.instance.failure) == Failure(code="cancelled", step="credit", kind="refused")
    family.ok()
    family.settle()
    assert (family.parent.status, family.child.status) == ("compensated", "compensated")


def test_rule_25_one_that_was_never_begun_is_cancelled_by_the_same() -> None:
    family = Family(pivot_saga, final_credit_saga)
    family.ok("", Held())
    start = family.orders.pop()
    family.cancel()
    family.settle()
    assert family.parent.sends[-1].key.operation == "undo"
    family.deliver(start)
    assert not family.child.sends


def test_what_it_tells_behind_its_own_pivot_waits_for_nobody() -> None:
    family = at_child(pivot_saga)
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    assert family.child.facts == ["credit-taken.v1", "credit-closed.v1"]
    assert (family.child.status, family.child.instance.stage) == ("running", "settled")
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "completed")


def test_the_pivot_in_doubt_is_never_undone() -> None:
    within = timedelta(minutes=5)
    saga = order_of(HELD, Nested(final_credit_saga, reserve_credit, name="credit", within=within))
    family = at_child(saga)
    family.fire()
    assert family.parent.status == "parked"
    assert not family.parent.instance.backward


# --- ends, and detached ---


def test_with_ends_the_saga_goes_on_without_it() -> None:
    family = at_child(order_of(HELD, Nested(credit_saga, reserve_credit, ends=True)))
    family.refuse(CHILD, "too_much")
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "compensated")
    assert family.parent.instance.state("credit").progress == "refused"


def test_behind_the_pivot_only_what_ends_either_way_may_stand() -> None:
    with pytest.raises(DeclarationError, match="credit may be refused, but stands after the pivot"):
        order_of(HELD, Pivot(ship_it, to="lorries"), Nested(credit_saga, reserve_credit))
    family = Family(
        order_of(HELD, Pivot(ship_it, to="lorries"), Nested(credit_saga, reserve_credit, ends=True)), credit_saga
    )
    family.ok("", Held())
    family.ok("")
    family.deliver()
    family.refuse(CHILD, "too_much")
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "compensated")


def test_rule_44_a_detached_one_is_begun_when_the_saga_cannot_be_undone_any_more() -> None:
    saga = order_of(HELD, Nested(credit_saga, reserve_credit, detached=True), Pivot(ship_it, to="lorries"))
    family = Family(saga, credit_saga)
    family.ok("", Held())
    assert not family.orders and family.parent.waiting == ["ship_it:do"]
    family.ok()
    assert family.parent.waiting == ["credit:do"]
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "running")
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    assert family.child.status == "completed"
    assert family.child.facts == ["credit-taken.v1", "credit-closed.v1"]


def test_rule_44_a_detached_one_is_dropped_when_the_saga_is_undone() -> None:
    saga = order_of(HELD, Nested(credit_saga, reserve_credit, detached=True), Pivot(ship_it, to="lorries"))
    family = Family(saga, credit_saga)
    family.ok("", Held())
    family.refuse("", "no_lorry")
    family.ok()
    assert family.parent.status == "compensated"
    assert not family.orders
    assert family.parent.kinds("start_held", "start_dropped") == ["start_held", "start_dropped"]


def test_without_a_pivot_a_detached_one_is_begun_at_the_end() -> None:
    family = Family(order_of(HELD, Nested(credit_saga, reserve_credit, detached=True)), credit_saga)
    family.ok("", Held())
    assert family.parent.waiting == ["credit:do"]
    family.cancel()
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "running")


# --- people ---


def test_rule_47_terminated_with_it_nothing_is_undone_below() -> None:
    family = at_child()
    family.ok(CHILD, Held())
    family.give("", TerminateRequested("t"))
    assert family.parent.waiting == ["credit:close"]
    family.settle()
    assert family.child.waiting == ["note_credit:close"]
    family.ok(CHILD, Closed())
    family.settle()
    assert (family.parent.status, family.child.status) == ("terminated", "terminated")
    assert left_in_doubt(family.parent.instance) == ["credit"]
    assert left_standing(credit_saga.outline, family.child.instance) == ["hold_credit"]


def test_rule_47_what_stands_below_a_terminated_one_is_released() -> None:
    family = behind_child()
    family.give("", TerminateRequested("t"))
    family.settle()
    assert family.child.status == "completed"
    assert family.parent.waiting == ["ship:close"]
    family.ok("", Closed())
    assert family.parent.status == "terminated"
    assert left_standing(order_saga.outline, family.parent.instance) == ["hold_stock", "credit"]


def test_rule_47_terminated_while_it_is_released_it_still_is() -> None:
    family = behind_child()
    family.ok()
    family.give("", TerminateRequested("t"))
    assert family.parent.waiting == ["credit:release"]
    family.settle()
    assert (family.parent.status, family.child.status) == ("terminated", "completed")


def test_rule_47_terminated_while_it_is_undone_that_ends_as_it_is() -> None:
    family = behind_child()
    family.refuse("", "no_lorry")
    family.settle()
    family.give("", TerminateRequested("t"))
    family.settle()
    family.ok(CHILD, Closed())
    family.settle()
    assert (family.parent.status, family.child.status) == ("terminated", "terminated")
    assert left_in_doubt(family.parent.instance) == ["credit"]


def test_rule_47_undone_before_that_is_heard_it_was_undone() -> None:
    family = behind_child()
    family.refuse("", "no_lorry")
    family.settle()
    family.ok(CHILD)
    family.ok(CHILD)
    family.replies.clear()
    family.give("", TerminateRequested("t"))
    family.settle()
    assert family.parent.instance.state("credit").progress == "undone"
    assert (family.parent.status, family.child.status) == ("terminated", "compensated")


def test_rule_47_a_start_that_is_held_when_it_is_terminated_never_leaves() -> None:
    saga = order_of(HELD, Nested(credit_saga, reserve_credit, detached=True), Pivot(ship_it, to="lorries"))
    family = Family(saga, credit_saga)
    family.ok("", Held())
    family.give("", TerminateRequested("t"))
    family.ok("", Closed())
    assert family.parent.status == "terminated"
    assert not family.orders


def test_rule_47_terminated_before_its_undo_is_heard_it_stands() -> None:
    family = behind_child()
    family.refuse("", "no_lorry")
    undo = family.orders.pop()
    family.give("", TerminateRequested("t"))
    family.give(CHILD, PauseRequested("q"))
    family.deliver()
    family.deliver(undo)
    family.give(CHILD, ResumeRequested("r"))
    family.settle()
    assert (family.parent.status, family.child.status) == ("terminated", "completed")
    assert left_standing(order_saga.outline, family.parent.instance) == ["hold_stock", "credit"]


def test_rule_47_a_detached_one_that_was_not_begun_by_then_never_is() -> None:
    saga = order_of(HELD, Pivot(ship_it, to="lorries"), Nested(credit_saga, reserve_credit, detached=True))
    family = Family(saga, credit_saga)
    family.ok("", Held())
    family.ok("")
    start = family.orders.pop()
    family.give("", TerminateRequested("t"))
    family.settle()
    family.deliver(start)
    assert (family.parent.status, family.child.status) == ("terminated", "compensated")
    assert not family.child.sends
    assert family.replies[-1][1].outcome == "refused"


def test_what_a_person_has_terminated_below_waits_for_a_person() -> None:
    family = at_child()
    family.ok(CHILD, Held())
    family.give(CHILD, TerminateRequested("t"))
    family.ok(CHILD, Closed())
    family.settle()
    assert family.parent.status == "parked"
    assert "look there, then skip it" in family.parent.instance.why_parked
    family.give("", SkipRequested("k", "credit", 1, CreditReserved().to_json()))
    assert family.parent.sends[-1].key.path == "ship"
    family.ok()
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "terminated")


def parked_pivot() -> Family:
    within = timedelta(minutes=5)
    family = at_child(order_of(HELD, Nested(final_credit_saga, reserve_credit, name="credit", within=within)))
    family.fire()
    assert family.parent.status == "parked"
    return family


def test_rule_17_a_skip_has_it_undone_first() -> None:
    family = parked_pivot()
    family.give("", SkipRequested("k", "credit", 1, "{}"))
    assert family.parent.waiting == ["credit:close"]
    family.settle()
    assert family.child.waiting == ["hold_credit:undo"]
    family.ok(CHILD)
    family.settle()
    assert family.parent.instance.state("credit").skipped
    assert (family.parent.status, family.child.status) == ("completed", "compensated")


def test_rule_17_what_it_has_come_to_before_a_skip_counts() -> None:
    family = parked_pivot()
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    family.replies.clear()
    family.give("", SkipRequested("k", "credit", 1, "{}"))
    family.settle()
    assert not family.parent.instance.state("credit").skipped
    assert (family.parent.status, family.child.status) == ("completed", "completed")


def test_rule_17_what_it_was_refused_with_before_a_skip_counts() -> None:
    family = parked_pivot()
    family.refuse(CHILD, "too_much")
    family.replies.clear()
    family.give("", SkipRequested("k", "credit", 1, "{}"))
    family.settle()
    assert Failure.from_json(family.parent.instance.failure).code == "too_much"


def test_a_paused_one_is_released_when_it_goes_on() -> None:
    family = behind_child()
    family.give(CHILD, PauseRequested("q"))
    family.ok()
    family.settle()
    assert family.parent.waiting == ["credit:release"]
    family.give(CHILD, ResumeRequested("r"))
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "completed")


def test_a_paused_one_sends_no_release_before_it_goes_on() -> None:
    family = behind_child()
    family.give("", PauseRequested("q"))
    family.ok()
    assert not family.orders
    family.give("", ResumeRequested("r"))
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "completed")


def test_rule_2_nothing_is_run_again_behind_what_has_ended_for_good() -> None:
    family = behind_child(order_of(HELD, Nested(credit_saga, reserve_credit), Check(look, to="stock")))
    family.ok("")
    family.settle()
    assert family.parent.status == "completed"
    why = why_not(family.parent.saga.outline, family.parent.instance, "look")
    assert why == "credit is a saga that has ended for good, so nobody could undo it any more."


def test_what_is_commanded_late_changes_nothing() -> None:
    family = at_child()
    start = family.parent.instance.state("credit").leg
    assert start is not None
    family.ok(CHILD, Held())
    repeated = Send("orchestrator", CommandKey("p", "credit", 1, "do"), "choros.nested.v1", start.command, 7, None)
    family.cancel()
    family.deliver()
    family.deliver(repeated)
    assert family.child.instance.parent.order.operation == "undo"  # type: ignore[union-attr]


def test_what_is_commanded_again_is_answered_under_its_newest_attempt() -> None:
    family = at_child()
    family.fire()
    family.deliver()
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    assert [reply.order.envelope for _, reply in family.replies] == [f"{CHILD}:do#2"]


def order_to(operation: Any, **more: Any) -> OrderReceived:
    return OrderReceived("late", Order(operation, f"{CHILD}:{operation}#9", **more))


def test_nothing_that_is_commanded_moves_one_that_has_ended() -> None:
    family = behind_child(plain_saga)
    decision = family.give(CHILD, order_to("cancel"))
    assert (family.child.status, decision.events, decision.sends) == ("completed", (), ())


def test_nor_one_that_nobody_waits_for() -> None:
    family = at_child(order_of(HELD, Nested(credit_saga, reserve_credit, detached=True)))
    for operation in ("cancel", "close"):
        decision = family.give(CHILD, order_to(operation, terminates=True))
        assert (family.child.status, decision.events, decision.sends) == ("running", (), ())


def test_one_that_is_undone_already_takes_no_cancel() -> None:
    family = at_child()
    family.ok(CHILD, Held())
    family.refuse(CHILD, "no_book")
    decision = family.give(CHILD, order_to("cancel"))
    assert (family.child.instance.backward, decision.events) == (True, ())


def test_undone_by_the_saga_around_it_it_says_that_it_was_cancelled_and_where() -> None:
    family = behind_child()
    family.refuse("", "no_lorry")
    family.deliver()
    failure = Failure.from_json(family.child.instance.failure)
    assert failure == Failure(code="cancelled", step=failure.step, kind="cancelled")
    assert failure.step == family.child.saga.at_work(behind_child().child.instance)


def test_what_it_was_undone_for_is_said_in_its_own_words() -> None:
    family = at_child()
    family.give(CHILD, Answered("no", key_of("hold_credit"), 1, "refused", TOO_MUCH.to_json(), "too_much"))
    family.settle()
    failure = Failure.from_json(family.parent.instance.failure)
    assert (failure.code, failure.detail) == ("too_much", "more than he has")


def test_its_undo_is_waited_for_before_anything_older_is_undone_and_as_long_as_it_takes() -> None:
    family = behind_child(order_of(HELD, Nested(credit_saga, reserve_credit, within=DAY), Pivot(ship_it, to="lorries")))
    family.refuse("", "no_lorry")
    for _ in range(300):
        family.fire()
        assert family.parent.waiting == ["credit:undo"]
    assert family.now > START + 2 * 86_400
    assert family.parent.status == "compensating"


@pytest.mark.parametrize(
    ("more", "kind", "turns_on"),
    [
        ({}, "nested", {"refused", "in_doubt"}),
        ({"ends": True}, "nested", {"in_doubt"}),
        ({"detached": True}, "detached", set()),
    ],
)
def test_what_turns_the_saga_back(more: Any, kind: str, turns_on: set[str]) -> None:
    leaf = order_of(HELD, Nested(credit_saga, reserve_credit, **more)).outline.commanded("credit")
    assert leaf is not None
    assert (leaf.kind, set(leaf.turns_on), leaf.expires) == (kind, turns_on, False)


def test_as_the_pivot_only_its_refusal_does() -> None:
    leaf = pivot_saga.outline.commanded("credit")
    assert leaf is not None
    assert (leaf.kind, set(leaf.turns_on)) == ("pivot", {"refused"})


def test_behind_the_pivot_neither_does() -> None:
    saga = order_of(HELD, Pivot(ship_it, to="lorries"), Nested(credit_saga, reserve_credit, ends=True))
    leaf = saga.outline.commanded("credit")
    assert leaf is not None and not leaf.turns_on


def test_a_start_that_was_held_leaves_no_trace_of_itself_where_it_is_dropped() -> None:
    family = Family(order_of(HELD, Nested(credit_saga, reserve_credit, detached=True), Pivot(ship_it, to="lorries")))
    family.ok("", Held())
    assert family.parent.instance.state("credit").command
    family.refuse("", "no_lorry")
    dropped = next(event for event in family.parent.events if event.kind == "start_dropped")
    assert dropped.step == "credit"
    state = family.parent.instance.state("credit")
    assert (state.progress, state.command) == ("pending", "")


def test_in_a_branch_it_is_remembered_that_it_was_taken_back() -> None:
    both = Parallel(Step(hold_other, to="stock", compensation=give_stock_back),
                    Nested(credit_saga, reserve_credit, detached=True), name="both")  # fmt: skip
    family = Family(order_of(HELD, both, Pivot(ship_it, to="lorries")))
    family.ok("", Held())
    family.refuse("", "sold_out")
    assert family.parent.instance.state("both.credit").progress == "retracted"


def after_scope(order: PlaceOrder, held: Held, credit: CreditReserved | None) -> Ship:
    return Ship(order=order.order, credit=credit.credit if credit else held.hold)


def test_behind_a_scope_what_came_before_is_known_as_before() -> None:
    saga = order_of(HELD, Scope(Nested(credit_saga, reserve_credit)), Step(after_scope, "x", give_stock_back))
    family = Family(saga, credit_saga)
    family.ok("", Held())
    family.settle()
    child = "p:scope.credit:1"
    family.ok(child, Held(hold="h7"))
    family.ok(child, Noted())
    family.settle()
    assert Ship.from_json(family.parent.sends[-1].data).credit == "k-h7"


def after_two(order: PlaceOrder, one: CreditReserved | None, two: CreditReserved | None) -> Ship:
    return Ship(order=order.order, credit=f"{one and one.credit} {two and two.credit}")


def test_what_perhaps_was_known_before_is_known_once() -> None:
    one, two = (Nested(credit_saga, reserve_credit, name=name) for name in ("one", "two"))
    saga = order_of(Scope(one, name="s"), Scope(two, name="t"), Step(after_two, "x", give_stock_back))
    assert "after_two" in saga.outline.leaves


def test_what_commands_a_saga_that_is_nested_in_none_is_a_stray() -> None:
    family = Family(plain_saga, credit_saga)
    decision = family.give("", OrderReceived("x", Order("undo", "p:credit:1:undo#1")))
    assert decision.strays == ("x",)
    assert family.parent.status == "running"


# --- in others ---


def lines(order: PlaceOrder) -> list[str]:
    return [f"line-{number}" for number in range(order.total)]


def reserve_line(lines: str) -> ReserveCredit:
    return ReserveCredit(customer=lines)


def count_them(order: PlaceOrder, credits: list[CreditReserved]) -> HoldStock:
    return HoldStock(order=str(len(credits)))


def each_saga() -> Saga[PlaceOrder]:
    each = ForEach(lines, Nested(credit_saga, reserve_line), at_once=100)
    return order_of(each, Step(count_them, to="stock", compensation=give_stock_back))


@pytest.mark.parametrize("count", [3, 40])
def test_in_a_loop_each_item_has_one_and_all_are_released(count: int) -> None:
    family = Family(each_saga(), credit_saga, start=PlaceOrder(total=count))
    family.settle()
    names = [name for name in family.members if name]
    assert len(names) == count
    for name in names:
        family.ok(name, Held())
        family.ok(name, Noted())
    family.settle()
    assert family.parent.sends[-1].data == f'{{"order":"{count}"}}'
    family.ok("", Held())
    assert len(family.orders) == min(count, AT_ONCE), "so many at a time"
    family.settle()
    assert {family.members[name].status for name in names} == {"completed"}
    assert family.parent.status == "completed"


def test_in_a_loop_all_that_were_begun_are_undone() -> None:
    family = Family(each_saga(), credit_saga, start=PlaceOrder(total=2))
    family.settle()
    first, second = [name for name in family.members if name]
    family.ok(first, Held())
    family.ok(first, Noted())
    family.refuse(second, "too_much")
    family.settle()
    family.ok(first)
    family.ok(first)
    family.settle()
    assert {member.status for member in family.members.values()} == {"compensated"}


def test_beside_a_step_that_is_refused_it_is_in_doubt_and_undone() -> None:
    family = Family(order_of(Parallel(HELD, Nested(credit_saga, reserve_credit))), credit_saga)
    family.settle()
    family.ok("p:parallel.credit:1", Held())
    family.refuse("", "sold_out")
    family.settle()
    child = "p:parallel.credit:1"
    family.ok(child)
    family.ok(child)
    family.settle()
    assert {member.status for member in family.members.values()} == {"compensated"}


def test_a_loser_is_undone_and_released_at_the_end() -> None:
    family = Family(order_of(Parallel(HELD, Nested(credit_saga, reserve_credit), first=1)), credit_saga)
    family.settle()
    family.ok("", Held())
    family.settle()
    child = "p:parallel.credit:1"
    assert family.members[child].waiting == ["hold_credit:undo"]
    family.ok(child)
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "compensated")


def test_in_a_scope_its_refusal_is_undone_there() -> None:
    family = Family(
        order_of(
            Scope(HELD, Nested(credit_saga, reserve_credit)), Step(hold_other, to="stock", compensation=give_stock_back)
        ),
        credit_saga,
    )
    family.ok("", Held())
    family.settle()
    child = "p:scope.credit:1"
    family.refuse(child, "too_much")
    family.settle()
    family.ok("")
    family.ok("", Held(), at="hold_other")
    family.settle()
    assert (family.parent.status, family.members[child].status) == ("completed", "compensated")


def test_within_a_nested_one_its_own_are_released_first() -> None:
    middle = Saga("middle", start=ReserveCredit, key=lambda start: start.customer, steps=(Nested(credit_saga, again),))
    family = Family(order_of(HELD, Nested(middle, reserve_credit)), middle, credit_saga)
    family.ok("", Held())
    family.settle()
    inner = "p.middle.1:credit:1"
    family.ok(inner, Held())
    family.ok(inner, Noted())
    while family.orders or family.replies:
        family.deliver() if family.orders else family.bring_back()
        if family.members["p:middle:1"].status == "completed":
            assert family.members[inner].status == "completed"
    assert {member.status for member in family.members.values()} == {"completed"}


def again(start: ReserveCredit) -> ReserveCredit:
    return start


def test_a_detached_one_within_a_nested_one_waits_for_its_release() -> None:
    middle = Saga(
        "middle", start=ReserveCredit, key=lambda start: start.customer,
        steps=(Step(hold_credit, to="bank", compensation=give_credit_back), Nested(credit_saga, again, detached=True)),
    )  # fmt: skip
    family = Family(order_of(HELD, Nested(middle, reserve_credit), Pivot(ship_it, to="lorries")), middle, credit_saga)
    family.ok("", Held())
    family.settle()
    family.ok("p:middle:1", Held())
    family.settle()
    assert len(family.members) == 2
    family.ok("")
    family.settle()
    assert len(family.members) == 3
    assert (family.parent.status, family.members["p:middle:1"].status) == ("completed", "completed")


# --- what its function says ---


def only_large(order: PlaceOrder) -> ReserveCredit | None:
    return ReserveCredit(total=order.total) if order.total > 5 else None


def use_it(order: PlaceOrder, credit: CreditReserved | None) -> HoldStock:
    return HoldStock(order="without" if credit is None else credit.credit)


@pytest.mark.parametrize("total", [1, 10])
def test_it_may_be_passed_over(total: int) -> None:
    saga = order_of(Nested(credit_saga, only_large), Step(use_it, to="stock", compensation=give_stock_back))
    family = Family(saga, credit_saga, start=PlaceOrder(total=total))
    assert len(family.parent.sends) == (total == 1)
    assert saga.outline.leaves["use_it"].builders[0].needs[1].optional


def reserve_much(order: PlaceOrder) -> ReserveCredit:
    return ReserveCredit(customer="\\" * 300_000)


def test_what_would_not_fit_into_a_message_parks_it() -> None:
    family = Family(order_of(HELD, Nested(credit_saga, reserve_much)), credit_saga)
    family.ok("", Held())
    assert "reserve_much built a message that has more than" in family.parent.instance.why_parked
    assert family.parent.instance.parked_at.keys() == {"credit"}


def test_the_fingerprint_names_the_saga_and_its_version() -> None:
    text = order_of(HELD, Nested(credit_saga, reserve_credit, ends=True)).fingerprint.text
    begun = "begun by reserve-credit(place-order), comes to credit-reserved"
    assert f"credit: nested\n  saga credit, version 1, {begun}\n  goes on without it\n" in text
    assert (
        "credit: pivot\n  saga final-credit, version 1, begun by reserve-credit(place-order)\n"
        in pivot_saga.fingerprint.text
    )


# --- mistakes ---

no_saga: Any = "credit"


MISTAKES: Sequence[tuple[Any, str]] = [
    (lambda: [Nested(no_saga, reserve_credit)], "Nested takes a saga, not 'credit'."),
    (lambda: [Nested(credit_saga, give_stock_back)], "give_stock_back returns GiveStockBack, not ReserveCredit."),
    (lambda: [Nested(credit_saga, no_saga)], "'credit' is no function."),
    (lambda: [Nested(final_credit_saga, only_large)], "is the pivot, but only_large may return None."),
    (
        lambda: [Pivot(ship_it, to="lorries"), Nested(credit_saga, reserve_credit)],
        "say ends=True, and ask for its result as `... | None`; or detached=True, or move it.",
    ),
    (lambda: [Nested(final_credit_saga, reserve_credit, ends=True)], "has ends=True, but it is the pivot"),
    (lambda: [Nested(credit_saga, reserve_credit, ends=True, detached=True)], "but nobody waits for its end"),
    (lambda: [Nested(credit_saga, reserve_credit, within=DAY, detached=True)], "has within=..., but nobody waits"),
    (lambda: [Nested(credit_saga, reserve_credit, timeout=NO_TIME)], "timeout=0:00:00 is no time to wait."),
    (lambda: [Nested(credit_saga, reserve_credit, within=NO_TIME)], "within=0:00:00 is no time to wait."),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "sentence"), MISTAKES)
def test_mistakes_are_sentences(steps: Callable[[], list[object]], sentence: str) -> None:
    with pytest.raises(DeclarationError) as mistake:
        order_of(*steps())
    assert sentence in str(mistake.value)


def test_a_start_that_cannot_be_built_waits_for_a_person_and_is_built_again() -> None:
    failing = [True]

    def reserve_perhaps(order: PlaceOrder) -> ReserveCredit:
        if failing:
            raise ValueError
        return ReserveCredit()

    family = Family(order_of(Parallel(HELD, Nested(credit_saga, reserve_perhaps))), credit_saga)
    family.ok("", Held())
    assert family.parent.status == "parked"
    failing.clear()
    family.give("", RetryRequested("r", "parallel.credit", 1))
    assert family.parent.waiting == ["parallel.credit:do"]


def test_what_fails_at_its_end_waits_for_a_person_before_it_is_answered() -> None:
    failing = [True]

    def told(start: ReserveCredit) -> CreditClosed:
        if failing:
            raise ValueError
        return CreditClosed(customer=start.customer)

    fails = Saga(
        "credit", start=ReserveCredit, key=lambda start: start.customer, steps=credit_saga.steps, completed=told
    )
    family = Family(order_of(HELD, Nested(fails, reserve_credit)), fails)
    family.ok("", Held())
    family.settle()
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    assert (family.child.status, family.child.instance.stage) == ("parked", "")
    failing.clear()
    family.give(CHILD, RetryRequested("r", "", 1))
    family.settle()
    assert (family.parent.status, family.child.status) == ("completed", "completed")


def test_undone_again_while_its_undo_is_under_way_it_waits() -> None:
    family = Family(order_of(Parallel(HELD, Nested(credit_saga, reserve_credit), undo="side_by_side")), credit_saga)
    family.settle()
    family.ok("", Held())
    family.cancel()
    family.ok("")
    assert family.parent.waiting == ["parallel.credit:undo"]
    assert family.parent.saga.at_work(family.parent.instance) == "parallel.credit"


def test_behind_a_choice_nobody_is_sure_of_it() -> None:
    choice = When(is_large, then=Nested(credit_saga, reserve_credit))
    saga = order_of(choice, Step(use_it, to="stock", compensation=give_stock_back))
    assert saga.outline.leaves["use_it"].builders[0].needs[1].optional
    assert not list(saga.outline.answers)[2:]
    family = Family(saga, credit_saga)
    assert family.parent.saga.at_work(family.parent.instance) == "when.credit" or family.parent.waiting


def is_large(order: PlaceOrder) -> bool:
    return order.total > 5


def test_what_a_detached_one_comes_to_nobody_knows() -> None:
    with pytest.raises(DeclarationError, match="which is neither PlaceOrder nor a reply"):
        order_of(HELD, Nested(credit_saga, reserve_credit, detached=True), Pivot(ship, to="lorries"))


def test_paused_and_resumed_when_it_is_over_it_waits_as_before() -> None:
    family = behind_child()
    family.give(CHILD, PauseRequested("q"))
    family.give(CHILD, ResumeRequested("r"))
    assert (family.child.status, family.child.instance.stage) == ("running", "revocable")
    assert not family.replies


def test_who_reads_the_outline_finds_what_it_is_told_and_answers() -> None:
    leaf = order_saga.outline.commanded("credit")
    assert leaf is not None
    assert [one.type_name for one in leaf.answers("do")] == [CreditReserved.type_name]
    assert leaf.answers("release") == [Done]
    assert nested_in(order_saga.outline) == [leaf]
    assert leaf.command_of().type_name == NestedCommand.type_name
    assert leaf.whom == "saga credit"


def test_it_has_a_place_in_the_picture_and_in_words() -> None:
    picture = mermaid(order_saga)
    assert '[["credit<br/>saga credit"]]' in picture
    assert '|"undo: saga credit"|' in picture
    with_ends = order_of(HELD, Nested(credit_saga, reserve_credit, ends=True))
    said = "credit: ReserveCredit begins saga credit, version 1 (nested)"
    assert any(said in line for line in outline(order_saga))
    assert any(f"{said}, which the saga goes on without" in line for line in outline(with_ends))


def use_credit(order: PlaceOrder, credit: CreditReserved) -> HoldStock:
    return HoldStock(order=credit.credit)


def test_undone_by_dependency_it_waits_for_what_was_made_with_its_result() -> None:
    used = Step(use_credit, to="stock", compensation=give_stock_back)
    saga = order_of(Nested(credit_saga, reserve_credit), used, Pivot(ship_it, to="lorries"), undo="by_dependency")
    family = Family(saga, credit_saga)
    family.settle()
    family.ok(CHILD, Held())
    family.ok(CHILD, Noted())
    family.settle()
    family.ok("", Held())
    family.refuse("", "no_lorry")
    assert family.parent.waiting == ["use_credit:undo"]
    family.ok("")
    assert family.parent.waiting == ["credit:undo"]

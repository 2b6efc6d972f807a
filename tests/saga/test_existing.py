"""`Existing`: what was there before the saga is taken back where that is undone, last of all, and by a `do`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Command, Done
from choros.runtime.client.parked import skippable
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import Answered, CancelRequested, RerunRequested
from choros.saga.machine.instance import NodeState
from choros.saga.machine.machine import begin
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.nodes import Check, Existing, Parallel, Pivot, Publish, Retriable, Sleep, Step, When
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from tests.saga.driving import START, Run, commands, key
from tests.saga.shop import (
    CHARGED,
    ORDER,
    SHIPPED,
    TWICE,
    ChargePayment,
    OrderRejected,
    PlaceOrder,
    RefundPayment,
    ShipOrder,
    charge_payment,
    order_confirmed,
    order_noted,
    order_rejected,
    refund_payment,
    ship_parcel,
)
from tests.saga.test_declaration import PAY, SHIP, declare


class WithdrawOrder(Command[Done]):
    order_id: str


class MightNotWithdraw(Command[Done], refusals=("too_late",)):
    order_id: str


def withdraw_order(order: PlaceOrder) -> WithdrawOrder:
    return WithdrawOrder(order_id=order.order_id)


def might_not(order: PlaceOrder) -> MightNotWithdraw:
    return MightNotWithdraw(order_id=order.order_id)


def raises(order: PlaceOrder) -> WithdrawOrder:
    raise LookupError


def is_big(order: PlaceOrder) -> bool:
    return order.total > 10


EXISTING = Existing(to="order", compensation=withdraw_order, undo_retry=TWICE)


def make_saga(*steps: Any, **more: Any) -> Saga[PlaceOrder]:
    return Saga(
        "order", start=PlaceOrder, completed=order_confirmed, compensated=order_rejected,
        steps=steps or (
            EXISTING,
            Step(charge_payment, to="payment", compensation=refund_payment),
            Pivot(ship_parcel, to="shipping"),
        ), **more,
    )  # fmt: skip


saga = make_saga()


def undoing() -> Run:
    """Charged, not shipped, and refunded: the order is next."""
    run = Run(saga)
    run.ok(CHARGED)
    run.refuse("no_such_address")
    run.ok()
    return run


# --- the ways through it ----------------------------------------------------------------------------------------------


def test_nothing_is_sent_for_it_and_it_counts_as_done() -> None:
    run = Run(saga)
    assert commands(run) == ["charge_payment:1:do#1"]
    assert run.instance.state("withdraw_order") == NodeState("ok")
    run.ok(CHARGED)
    run.ok(SHIPPED)
    assert (run.status, len(run.sends)) == ("completed", 2)


def test_rule_3_it_is_taken_back_last_of_all_and_by_a_do() -> None:
    run = undoing()
    assert commands(run)[-2:] == ["charge_payment:1:undo#1", "withdraw_order:1:do#1"]
    assert (run.sent.type, run.sent.to) == ("withdraw-order.v1", "order")
    assert saga.at_work(run.instance) == "withdraw_order"
    run.ok()
    assert (run.kinds, run.progress()[0]) == (["undone", "fact_published", "compensated"], "undone")


def test_rule_3_its_command_expires_never_and_carries_when_it_was_first_sent() -> None:
    run = Run(saga)
    run.give(CancelRequested("cancel"), at=START + 1000)
    run.ok()
    assert (run.sent.not_after, run.sent.began) == (None, START + 1000)
    run.fire()
    assert (run.sent.attempt, run.sent.began, run.now) == (2, START + 1000, START + 1030)


def test_a_cancel_with_nothing_else_done_takes_it_back_at_once() -> None:
    run = Run(make_saga(EXISTING, Sleep(timedelta(days=1)), SHIP))
    run.cancel()
    assert commands(run) == ["withdraw_order:1:do#1"]
    run.ok()
    assert run.status == "compensated"


def test_the_first_of_several_is_taken_back_last() -> None:
    other = Existing(to="cart", compensation=withdraw_order, name="cart")
    run = Run(make_saga(EXISTING, other, PAY, SHIP))
    run.refuse("card_declined")
    run.ok()
    assert commands(run)[-2:] == ["cart:1:do#1", "withdraw_order:1:do#1"]


def test_it_is_not_taken_back_behind_the_pivot() -> None:
    run = Run(make_saga(EXISTING, PAY, SHIP, Retriable(withdraw_order, to="order", name="archive")))
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.cancel()
    assert run.kinds == ["too_late"]
    run.ok()
    assert run.status == "completed"


# --- what may come of it ----------------------------------------------------------------------------------------------


def test_failures_and_silence_are_tried_again_and_then_it_waits_for_a_person() -> None:
    run = undoing()
    run.fail()
    assert run.kinds == ["failed", "retry_scheduled"]
    run.fire()
    run.fire()
    assert run.instance.why_parked == "withdraw_order (do) is in doubt after 2 attempts: timeout"
    run.retry("withdraw_order")
    assert (commands(run)[-1], run.status) == ("withdraw_order:1:do#3", "compensating")
    run.ok()
    assert run.status == "compensated"


@pytest.mark.parametrize("code", ["expired", "cancelled", "too_late"])
def test_as_every_undo_it_cannot_be_refused(code: str) -> None:
    run = undoing()
    run.refuse(code)
    assert run.kinds == ["undeclared_refusal", "retry_scheduled"]


def test_rule_17_a_skip_closes_its_do() -> None:
    run = undoing()
    run.time_out(2)
    told = skippable(saga, run.instance, "withdraw_order")
    assert (told.what, told.undo, told.reply) == ("The undo of withdraw_order of saga 'order'", True, Done)
    run.skip("withdraw_order")
    assert (commands(run)[-1], run.sent.data) == ("withdraw_order:1:close#1", '{"of":"do"}')
    run.ok()
    assert (run.kinds[0], run.progress()[0], run.status) == ("skipped", "standing", "compensated")


def test_a_person_skips_what_its_service_has_forgotten() -> None:
    run = undoing()
    run.fail("forgotten")
    assert run.status == "parked"
    run.skip("withdraw_order")
    assert (run.kinds[:2], run.status) == (["skipped", "unparked"], "compensated")


def test_rule_17_a_close_may_be_answered_by_what_its_do_came_to() -> None:
    run = undoing()
    do = run.sent
    run.time_out(2)
    run.skip("withdraw_order")
    run.ok(to=do)
    assert run.status == "compensated"


def test_what_nobody_asked_for_is_a_stray() -> None:
    run = Run(saga)
    for asked in ("do", "undo"):
        run.give(Answered(f"forged-{asked}", key("withdraw_order", asked), 1, "ok", Done().to_json()))
        assert (run.last.strays, run.kinds) == ((f"forged-{asked}",), [])
    undone = undoing()
    do = undone.sent
    undone.ok()
    undone.ok(to=do)
    assert undone.kinds == ["late_reply"]


def test_a_function_that_raises_parks_the_saga_until_it_does_not() -> None:
    run = Run(make_saga(Existing(to="order", compensation=raises), PAY, SHIP))
    run.refuse("card_declined")
    assert run.instance.why_parked == "raises raised LookupError"
    run.retry("raises")
    assert run.status == "parked"


class VoidOrder(Command[Done]):
    order_id: str


def withdraw_or_void(order: PlaceOrder) -> WithdrawOrder | VoidOrder | None:
    if order.total == 100:
        return WithdrawOrder(order_id=order.order_id)
    return VoidOrder(order_id=order.order_id) if order.total == 50 else None


@pytest.mark.parametrize(("total", "sent"), [(100, WithdrawOrder), (50, VoidOrder), (1, None)])
def test_what_takes_it_back_may_choose_and_nothing_may_be_to_undo(total: int, sent: type[Any] | None) -> None:
    test = SagaTest(make_saga(Existing(to="order", compensation=withdraw_or_void), PAY, SHIP))
    test.start(PlaceOrder(order_id="o1", total=total))
    test.expect_command(ChargePayment).refuse("card_declined")
    if sent:
        test.expect_compensation(sent).time_out()
        test.expect_compensation(sent).reply()
    test.expect_facts(OrderRejected)
    assert (test.status, test.instance.state("withdraw_or_void").progress) == ("compensated", "undone")


# --- run again --------------------------------------------------------------------------------------------------------


def test_rule_2_run_again_it_belongs_to_the_new_one_as_long_as_it_stands() -> None:
    run = Run(saga)
    run.ok(CHARGED)
    while run.status == "running":
        run.fire()
    run.skip("ship_parcel", SHIPPED)
    run.ok()
    assert run.status == "completed"
    kept = kept_by(saga.outline, run.instance, "ship_parcel")
    assert kept["withdraw_order"] == NodeState("ok")
    again = Run(saga)
    again._take(begin(saga.tree, "s2", ORDER.to_json(), 0.0, cause="rerun", kept=kept))
    again.refuse("no_such_address", key=key("ship_parcel", "do", saga_id="s2"))
    again.ok(key=key("charge_payment", "undo"))
    assert str(again.sent.key) == "s2:withdraw_order:1:do", "no `do` is taken under the key of another saga"


def test_rule_2_what_is_gone_no_saga_makes_again() -> None:
    run = undoing()
    run.ok()
    assert why_not(saga.outline, run.instance, "charge_payment") == (
        "What was there before the saga is gone: withdraw_order. No saga makes it again."
    )
    run.give(RerunRequested("act", "charge_payment", "s2"))
    assert run.kinds == ["too_late"]
    standing = Run(saga)
    standing.ok(CHARGED)
    standing.ok(SHIPPED)
    assert why_not(saga.outline, standing.instance, "withdraw_order").startswith("The saga commands no step")


# --- what is refused --------------------------------------------------------------------------------------------------


MISTAKES: Sequence[tuple[Any, str]] = [
    ((PAY, EXISTING), "withdraw_order takes back what was there before the saga, but does not stand"),
    ((Publish(order_noted), EXISTING, PAY), "does not stand at its beginning"),
    ((Sleep(timedelta(1)), EXISTING, PAY), "does not stand at its beginning"),
    ((Check(charge_payment, to="payment"), SHIP, EXISTING), "does not stand at its beginning"),
    ((Parallel(EXISTING, PAY),), "parallel.withdraw_order takes back what was there before the saga, but does not"),
    ((When(is_big, EXISTING), PAY), "is_big.withdraw_order takes back what was there before the saga, but"),
    ((EXISTING,), "saga 'order' commands nobody"),
    ((EXISTING, EXISTING, PAY), "two steps are called withdraw_order"),
    ((Existing(to="order", compensation=might_not), PAY), "MightNotWithdraw may be refused (too_late)"),
    ((Existing(to="order", compensation="cancel"), PAY), "'cancel' is no function"),  # type: ignore[arg-type]
    ((Existing(to="Order!", compensation=withdraw_order), PAY), "'Order!', which is no name for a service"),
    ((Existing(to="order", compensation=refund_payment, undo_retry=3), PAY), "is no RetryPolicy"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("steps", "words"), MISTAKES)
def test_a_mistake_is_a_sentence_where_it_is_written(steps: Any, words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(*steps)
    assert words in str(caught.value)


# --- for whoever reads it ---------------------------------------------------------------------------------------------


def test_fingerprint_diagram_and_outline_say_what_takes_it_back() -> None:
    assert "withdraw_order: existing\n  undo withdraw-order(place-order) to order, answered by choros.done\n" in (
        saga.fingerprint.text
    )
    lines = [line.strip() for line in mermaid(saga).splitlines()]
    assert "start --> s0" in lines and 's0 -->|"undo: WithdrawOrder"| compensated' in lines
    assert "  withdraw_order: there before the saga, undone by WithdrawOrder to order, timeout 30 s" in outline(saga)


def test_its_policy_is_that_of_an_undo() -> None:
    leaf = saga.outline.commanded("withdraw_order")
    assert leaf and (leaf.policy("do"), leaf.policy("undo"), leaf.expires) == (TWICE, TWICE, False)
    plain = make_saga(Existing(to="order", compensation=withdraw_order), PAY, SHIP).outline.commanded("withdraw_order")
    assert plain and plain.retry == RetryPolicy()


def test_the_dialogue_takes_it_for_a_compensation() -> None:
    test = SagaTest(saga)
    test.start(ORDER)
    test.expect_command(ChargePayment).reply(CHARGED)
    test.expect_command(ShipOrder).refuse("no_such_address")
    test.expect_compensation(RefundPayment).reply()
    with pytest.raises(AssertionError, match="saga sent the compensation WithdrawOrder"):
        test.expect_command(WithdrawOrder)
    test.expect_compensation(WithdrawOrder, to="order").reply()
    test.expect_facts(OrderRejected)

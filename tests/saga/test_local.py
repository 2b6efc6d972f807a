"""`Local`: a commanded step but for where it is carried out; before the pivot with an undo, behind it without."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Command, Done
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import CancelRequested
from choros.saga.nodes import Local, Parallel, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from tests.saga.driving import Run, commands
from tests.saga.shop import (
    CHARGED,
    ORDER,
    RESERVED,
    SHIPPED,
    TWICE,
    ChargePayment,
    PlaceOrder,
    RefundPayment,
    ReserveInventory,
    charge_payment,
    refund_payment,
    release_inventory,
    reserve_inventory,
)
from tests.saga.test_declaration import SHIP


class FileOrder(Command[Done]):
    order_id: str


class MightNotFile(Command[Done], refusals=("full",)):
    order_id: str


def file_order(order: PlaceOrder) -> FileOrder:
    return FileOrder(order_id=order.order_id)


def might_not(order: PlaceOrder) -> MightNotFile:
    return MightNotFile(order_id=order.order_id)


def unfile(order: PlaceOrder) -> FileOrder:
    return FileOrder(order_id=order.order_id)


CHARGE = Local(charge_payment, to="till", compensation=refund_payment, retry=TWICE, undo_retry=TWICE)
RESERVE = Step(reserve_inventory, to="inventory", compensation=release_inventory)
FILE = Local(file_order, to="till")


def make_saga(*steps: Any) -> Saga[PlaceOrder]:
    return Saga("order", start=PlaceOrder, steps=steps or (CHARGE, RESERVE, SHIP, FILE))


saga = make_saga()


# --- the ways through it ----------------------------------------------------------------------------------------------


def test_it_is_sent_answered_and_tried_again_as_a_commanded_step_is() -> None:
    run = Run(saga)
    assert (run.sent.to, run.sent.type, run.sent.not_after is None) == ("till", "charge-payment.v1", False)
    run.fire()
    run.ok(CHARGED)
    run.ok(RESERVED)
    run.ok(SHIPPED)
    assert run.sent.not_after is None  # behind the pivot nothing expires
    run.ok()
    keys = ["charge_payment:1:do#1", "charge_payment:1:do#2", "reserve_inventory:1:do#1"]
    assert (run.status, commands(run)[:3], commands(run)[-1]) == ("completed", keys, "file_order:1:do#1")


def test_it_is_undone_in_its_turn_and_in_doubt_too() -> None:
    test = SagaTest(saga)
    test.start(ORDER)
    test.expect_command(ChargePayment, to="till").reply(CHARGED)
    test.expect_command(ReserveInventory, to="inventory").refuse("sold_out")
    test.expect_compensation(RefundPayment, to="till").reply()
    assert test.status == "compensated"
    silent = Run(saga)
    silent.fire()
    silent.fire()
    assert (silent.status, commands(silent)[-1]) == ("compensating", "charge_payment:1:undo#1")


def test_a_cancel_while_it_is_under_way_undoes_it() -> None:
    run = Run(saga)
    run.give(CancelRequested("cancel"))
    assert commands(run)[-1] == "charge_payment:1:undo#1"


def test_behind_the_pivot_it_is_tried_until_it_is_done() -> None:
    run = Run(saga)
    run.ok(CHARGED)
    run.ok(RESERVED)
    run.ok(SHIPPED)
    run.give(CancelRequested("cancel"))
    run.fire()
    assert (run.status, commands(run)[-1]) == ("running", "file_order:1:do#2")


# --- what is read from it ---------------------------------------------------------------------------------------------


def test_its_leaf_says_that_it_is_local_and_the_others_do_not() -> None:
    assert [(leaf.path, leaf.local, leaf.kind) for leaf in saga.outline.commands] == [
        ("charge_payment", True, "local"), ("reserve_inventory", False, "step"),
        ("ship_parcel", False, "pivot"), ("file_order", True, "local"),
    ]  # fmt: skip
    charge = saga.outline.commanded("charge_payment")
    assert charge and charge.policy("undo") is charge.policy("do") is TWICE
    assert charge.turns_on == {"refused", "in_doubt"}


def test_rule_42_its_database_stands_in_the_fingerprint() -> None:
    text = saga.fingerprint.text
    assert "charge_payment: local\n  do charge-payment(place-order) to till, answered by payment-charged" in text
    assert "file_order: local\n" in text
    commanded = make_saga(Step(charge_payment, to="till", compensation=refund_payment), RESERVE, SHIP)
    local = make_saga(Local(charge_payment, to="till", compensation=refund_payment), RESERVE, SHIP)
    elsewhere = make_saga(Local(charge_payment, to="purse", compensation=refund_payment), RESERVE, SHIP)
    assert len({one.fingerprint.hash for one in (commanded, local, elsewhere)}) == 3


def test_it_is_drawn_as_a_database_and_told_as_local() -> None:
    picture = mermaid(saga)
    assert 's0[("charge_payment<br/>till")]' in picture
    assert 's3[("file_order<br/>till")]' in picture
    assert "  charge_payment: ChargePayment to till (local), undone by RefundPayment, timeout 30 s" in "\n".join(
        outline(saga)
    )


def test_it_stands_in_other_nodes() -> None:
    parallel = make_saga(Parallel(CHARGE, RESERVE), SHIP)
    assert parallel.outline.commanded("parallel.charge_payment").local  # type: ignore[union-attr]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((Local(charge_payment, to="till"), SHIP), "charge_payment has no compensation, so it would stay"),
        ((SHIP, Local(file_order, to="till", compensation=unfile)), "can be undone, but stands after the pivot"),
        ((SHIP, Local(might_not, to="till")), "stands after the pivot, but MightNotFile may be refused (full)"),
        ((Local(charge_payment, to="till", compensation=might_not), SHIP), "undoes charge_payment, but may be refused"),
        ((Local(charge_payment, to="Till!", compensation=refund_payment), SHIP), "no name for a service"),
        ((Local("charge", to="till", compensation=refund_payment), SHIP), "'charge' is no function"),  # type: ignore[arg-type]
        (
            (Local(charge_payment, to="till", compensation=refund_payment, timeout=timedelta(0)), SHIP),
            "has no time to answer",
        ),
        (
            (Local(charge_payment, to="till", compensation=refund_payment, retry=3), SHIP),  # type: ignore[arg-type]
            "is no RetryPolicy",
        ),
        (
            (Local(charge_payment, to="till", compensation=refund_payment, undo_retry=3), SHIP),  # type: ignore[arg-type]
            "is no RetryPolicy",
        ),
    ],
)
def test_a_mistake_is_said_where_it_is_declared(steps: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        make_saga(*steps)
    assert said in caught.value.sentence


def test_it_may_have_a_name_and_a_policy_of_its_own() -> None:
    named = make_saga(
        Local(charge_payment, to="till", compensation=refund_payment, name="pay", retry=RetryPolicy(attempts=7)), SHIP
    )
    pay = named.outline.commanded("pay")
    assert pay and pay.retry.attempts == 7

"""The order saga as a dialogue: it ends well, and any step of it is refused or not answered."""

from __future__ import annotations

from typing import Any

import pytest

from choros import Command, Reply
from choros.testing import SagaTest
from reference_services.contracts import (
    ChargePayment,
    InventoryReleased,
    InventoryReserved,
    OrderConfirmed,
    OrderRejected,
    OrderShipped,
    PaymentCharged,
    PaymentRefunded,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ShipOrder,
)
from reference_services.order.saga import order_saga
from tests.reference.conftest import order

REPLIES: dict[type[Command[Any]], Reply] = {
    ChargePayment: PaymentCharged(charge_id="c1"),
    ReserveInventory: InventoryReserved(reservation_id="r1"),
    ShipOrder: OrderShipped(carrier="van", tracking="t1"),
}
STEPS = list(REPLIES)
REFUND, RELEASE = (RefundPayment, PaymentRefunded(amount=1)), (ReleaseInventory, InventoryReleased(pieces=1))
UNDOS: list[tuple[type[Command[Any]], Reply]] = [REFUND, RELEASE]
REFUSALS = [(number, code) for number, step in enumerate(STEPS) for code in step.refusals]


def come_to(number: int) -> SagaTest:
    """The saga, when all steps before this one are done."""
    test = SagaTest(order_saga)
    test.start(order("1", ("A", 2, 150)))
    for step in STEPS[:number]:
        test.expect_command(step).reply(REPLIES[step])
    return test


def is_undone(test: SagaTest, undos: list[tuple[type[Command[Any]], Reply]], why: str) -> None:
    for undo, reply in reversed(undos):
        test.expect_compensation(undo).reply(reply)
    assert [rejected.reason for rejected in test.expect_facts(OrderRejected)] == [why]
    assert test.status == "compensated"


def test_all_is_done_and_told() -> None:
    test = come_to(len(STEPS))
    assert [confirmed.tracking for confirmed in test.expect_facts(OrderConfirmed)] == ["t1"]
    assert test.status == "completed"


def test_these_are_all_its_steps() -> None:
    assert [leaf.command_of() for leaf in order_saga.outline.commands] == STEPS


@pytest.mark.parametrize(("number", "code"), REFUSALS)
def test_what_is_refused_has_what_was_done_before_it_undone(number: int, code: str) -> None:
    test = come_to(number)
    test.expect_command(STEPS[number]).refuse(code)
    is_undone(test, UNDOS[:number], code)


@pytest.mark.parametrize("number", [0, 1])
def test_what_nobody_answers_may_have_been_done_and_is_undone_first(number: int) -> None:
    test = come_to(number)
    while test.status == "running":
        test.expect_command(STEPS[number]).time_out()
    is_undone(test, UNDOS[: number + 1], "timeout")


def test_a_parcel_that_may_have_left_waits_for_a_person() -> None:
    test = come_to(2)
    parcel = test.expect_command(ShipOrder)
    parcel.time_out()
    while test.status == "running":
        test.expect_command(ShipOrder).time_out()
    assert test.status == "parked"
    test.expect_nothing()
    parcel.reply(REPLIES[ShipOrder])
    test.expect_facts(OrderConfirmed)

"""A check: a step before the pivot that changes nothing, so that there is nothing to undo."""

import pytest

from choros import Check, Command, DeclarationError, Pivot, Publish, Reply, RetryPolicy, Saga, Step
from choros.saga.diagram import mermaid, outline
from choros.testing import SagaTest
from choros_verify import explore
from tests.saga.shop import (
    CHARGED,
    ORDER,
    ChargePayment,
    OrderRejected,
    PaymentCharged,
    PlaceOrder,
    RefundPayment,
    ShipOrder,
    charge_payment,
    order_noted,
    order_rejected,
    refund_payment,
    ship_parcel,
)


class AddressFound(Reply):
    zone: int


class FindAddress(Command[AddressFound], refusals=("unknown_address",)):
    order_id: str


def find_address(order: PlaceOrder) -> FindAddress:
    return FindAddress(order_id=order.order_id)


def charge_for_zone(order: PlaceOrder, found: AddressFound) -> ChargePayment:
    return ChargePayment(order_id=order.order_id, amount=order.total + found.zone)


ONCE = RetryPolicy(attempts=1)
CHARGE = Step(charge_payment, to="payment", compensation=refund_payment)
FIND = Check(find_address, to="addresses", retry=ONCE)


def declared(*steps: Step | Check | Pivot | Publish) -> Saga[PlaceOrder]:
    return Saga("checked", start=PlaceOrder, key=lambda order: order.order_id, steps=steps, compensated=order_rejected)


CHECKED = declared(CHARGE, FIND, Publish(order_noted), Pivot(ship_parcel, to="shipping"))


def at_the_check(saga: Saga[PlaceOrder] = CHECKED) -> SagaTest:
    test = SagaTest(saga)
    test.start(ORDER)
    test.expect_command(ChargePayment).reply(CHARGED)
    return test


def test_refused_all_before_it_is_undone_and_of_it_nothing() -> None:
    test = at_the_check()
    test.expect_command(FindAddress, to="addresses").refuse("unknown_address")
    test.expect_compensation(RefundPayment).reply()
    test.expect_facts(OrderRejected)
    assert test.status == "compensated"


def test_in_doubt_nothing_of_it_is_undone_either() -> None:
    test = at_the_check()
    test.expect_command(FindAddress).time_out()
    test.expect_compensation(RefundPayment).reply()
    assert test.status == "compensated"


def test_answered_its_reply_is_known_to_what_follows() -> None:
    saga = declared(FIND, Step(charge_for_zone, to="payment", compensation=refund_payment))
    test = SagaTest(saga)
    test.start(ORDER)
    test.expect_command(FindAddress).reply(AddressFound(zone=3))
    assert test.expect_command(ChargePayment).message.amount == ORDER.total + 3


def test_a_refused_pivot_leaves_it_alone() -> None:
    test = at_the_check()
    test.expect_command(FindAddress).reply(AddressFound(zone=1))
    test.expect_command(ShipOrder).refuse("no_such_address")
    test.expect_compensation(RefundPayment).reply()
    assert test.status == "compensated"


def test_behind_the_pivot_it_is_refused() -> None:
    with pytest.raises(DeclarationError, match="find_address may end the saga, but stands after the pivot"):
        declared(CHARGE, Pivot(ship_parcel, to="shipping"), FIND)


def test_its_kind_is_part_of_the_fingerprint_and_of_the_picture() -> None:
    assert "find_address: check\n  do find-address(place-order) to addresses" in CHECKED.fingerprint.text
    assert '-->|"refused"| s0' in mermaid(CHECKED)
    assert any("(check), timeout" in line for line in outline(CHECKED))


def test_a_reply_may_be_asked_for_by_its_type() -> None:
    assert CHECKED.outline.commands[1].answers("do") == [AddressFound]
    assert CHECKED.outline.commands[0].answers("do") == [PaymentCharged]


@pytest.mark.long
@pytest.mark.slow
def test_every_interleaving_of_it_keeps_the_promises() -> None:
    found = explore(CHECKED)
    assert found.complete, "\n".join(found.story)
    assert set(found.ends) == {"completed", "compensated", "parked"}

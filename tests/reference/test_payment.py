"""Payment: a double-entry ledger that always sums to zero."""

import sqlite3

import pytest

from choros import Refused
from reference_services.contracts import ChargePayment, PaymentRefunded, RefundPayment
from reference_services.payment.service import payment_service
from tests.reference.conftest import Desk

BALANCES = "SELECT name, balance_pence FROM account ORDER BY name"


def charge(order_id: str, amount: int) -> ChargePayment:
    return ChargePayment(order_id=order_id, customer="c1", amount=amount)


async def test_a_charge_is_what_the_customer_owes_and_we_have_sold(desk: Desk) -> None:
    service = payment_service()
    await desk.prepare(service)
    await desk.give(service, charge("1", 500), "a:do")
    assert await desk.rows(BALANCES) == [("receivable:c1", 500), ("sales", -500)]


async def test_a_refund_is_a_reversing_entry(desk: Desk) -> None:
    service = payment_service()
    await desk.prepare(service)
    await desk.give(service, charge("1", 500), "a:do")
    await desk.give(service, charge("2", 70), "b:do")
    assert await desk.give(service, RefundPayment(order_id="1"), "a:undo") == PaymentRefunded(amount=500)
    assert await desk.rows(BALANCES) == [("receivable:c1", 70), ("sales", -70)]
    assert await desk.rows("SELECT debit, credit, amount_pence FROM entry WHERE order_id = '1'") == [
        ("receivable:c1", "sales", 500),
        ("sales", "receivable:c1", 500),
    ]


async def test_a_second_round_is_charged_and_refunded_by_itself(desk: Desk) -> None:
    service = payment_service()
    await desk.prepare(service)
    for key in ("a:1", "a:2"):
        await desk.give(service, charge("1", 500), f"{key}:do")
        assert await desk.give(service, RefundPayment(order_id="1"), f"{key}:undo") == PaymentRefunded(amount=500)
    assert await desk.rows(BALANCES) == [("receivable:c1", 0), ("sales", 0)]


async def test_a_refund_of_nothing_changes_nothing(desk: Desk) -> None:
    service = payment_service()
    await desk.prepare(service)
    assert await desk.give(service, RefundPayment(order_id="1")) == PaymentRefunded(amount=0)
    assert await desk.rows(BALANCES) == []


async def test_refuses_what_is_above_the_limit_only(desk: Desk) -> None:
    service = payment_service(credit_limit=500)
    await desk.prepare(service)
    await desk.give(service, charge("1", 500), "a:do")
    with pytest.raises(Refused) as refused:
        await desk.give(service, charge("2", 501), "b:do")
    assert refused.value.code in ChargePayment.refusals
    assert await desk.rows("SELECT order_id FROM entry") == [("1",)]


@pytest.mark.parametrize("change", ["UPDATE entry SET amount_pence = 1", "DELETE FROM entry"])
async def test_no_entry_is_ever_changed(desk: Desk, change: str) -> None:
    service = payment_service()
    await desk.prepare(service)
    await desk.prepare(service)  # at every start
    await desk.give(service, charge("1", 500))
    with pytest.raises(sqlite3.IntegrityError, match="a row of entry is never"):
        await desk.rows(change)


async def test_one_key_is_one_entry_even_without_the_barrier(desk: Desk) -> None:
    service = payment_service()
    await desk.prepare(service)
    await desk.give(service, charge("1", 500), "a:do")
    with pytest.raises(sqlite3.IntegrityError):
        await desk.give(service, charge("1", 500), "a:do")
    assert await desk.rows(BALANCES) == [("receivable:c1", 500), ("sales", -500)]

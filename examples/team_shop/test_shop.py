"""The shop's own tests: the saga as a dialogue, and all of it in one process."""

import asyncio
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from carrier.app import carrier
from choros import Addresses, App, running
from choros.testing import SagaTest
from shop_contracts import BookParcel, ChargePayment, OrderSent, ParcelBooked, PlaceOrder, RefundPayment
from shop_front.saga import order_saga
from shop_payment.models import Account, Charge
from shop_payment.models import Base as PaymentTables
from shop_payment.service import payment
from shop_shipping.models import Base as ShippingTables
from shop_shipping.models import Parcel
from shop_shipping.service import shipping

ORDER = PlaceOrder(order_id="o1", customer="ada", amount=40, address="Delphi")


def test_a_parcel_that_nobody_takes_is_paid_back() -> None:
    """No service runs here."""
    saga = SagaTest(order_saga)
    saga.start(ORDER)
    saga.expect_command(ChargePayment, to="payment").reply()
    saga.expect_command(BookParcel, to="shipping").refuse("address_not_served")
    saga.expect_compensation(RefundPayment, to="payment").reply()
    assert saga.status == "compensated"


def test_an_order_is_sent() -> None:
    """Nor here."""
    saga = SagaTest(order_saga)
    saga.start(ORDER)
    saga.expect_command(ChargePayment, to="payment").reply()
    saga.expect_command(BookParcel, to="shipping").reply(ParcelBooked(parcel_id="p1"))
    saga.expect_facts(OrderSent(order_id="o1", parcel_id="p1"))


@pytest.mark.parametrize(
    ("changed", "status", "credit"),
    [({}, "completed", 60), ({"address": "the Moon"}, "compensated", 100), ({"amount": 1000}, "compensated", None)],
)
def test_all_of_it_in_one_process(
    tmp_path: Path, changed: dict[str, str | int], status: str, credit: int | None
) -> None:
    """On SQLite, and with a client that asks the carrier without a network."""
    engines = {name: create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("payment", "shipping")}
    PaymentTables.metadata.create_all(engines["payment"])
    ShippingTables.metadata.create_all(engines["shipping"])

    async def run() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(carrier), base_url="http://carrier") as http:
            shop = App("team-shop", sagas=[order_saga], services=[payment, shipping])
            addresses = Addresses("memory://", "memory://", f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
            async with running(shop.using({httpx.AsyncClient: http}), addresses) as client:
                acme = client.with_headers({"tenant": "acme"})
                return (await acme.run(order_saga, ORDER.model_copy(update=changed))).status

    assert asyncio.run(run()) == status
    with Session(engines["payment"]) as session:
        account = session.get(Account, "ada")
        assert (account.credit if account else None) == credit
        assert len(session.scalars(select(Charge)).all()) == (status == "completed")
    with Session(engines["shipping"]) as session:
        assert {parcel.tenant for parcel in session.scalars(select(Parcel))} <= {"acme"}
    for engine in engines.values():
        engine.dispose()

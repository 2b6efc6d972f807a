"""Two declarations of one piece of work: the same in every way of coming out, or the difference in a sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from choros import App, Choreography, Parallel, Pivot, Publish, RetryPolicy, Saga, Service, Sleep, Step, UsageError
from choros_verify.exploration.parity import ParityReport, _compared, parity
from choros_verify.exploration.parity_sides import FlowSide, SagaSide
from tests.app import flow_shop as flow_of
from tests.app.flow_shop import members, order_flow, orders_service
from tests.app.test_flow_checks import reaction
from tests.cli.test_cli import Choros, choros
from tests.exploration.flow_examples import BESIDE, CHARGE, COMPLETE, FAIL, REFUND, RELEASE, RESERVE, SHIP, TURNS
from tests.saga import shop

__all__ = ["choros"]  # the fixture

PARKING = RetryPolicy(exhausted="park")
COMMANDED = (
    Service("payment", commands=(shop.ChargePayment, shop.RefundPayment)),
    Service("inventory", commands=(shop.ReserveInventory, shop.ReleaseInventory)),
    Service("shipping", commands=(shop.ShipOrder,)),
)


def completed(order: shop.PlaceOrder) -> flow_of.OrderCompleted:
    return flow_of.OrderCompleted(order_id=order.order_id)


def failed(order: shop.PlaceOrder) -> flow_of.OrderFailed:
    return flow_of.OrderFailed(order_id=order.order_id)


def charging(retry: RetryPolicy = PARKING, undo: Any = shop.refund_payment) -> Step:
    return Step(shop.charge_payment, to="payment", compensation=undo, retry=retry)


RESERVING = Step(shop.reserve_inventory, to="inventory", compensation=shop.release_inventory, retry=PARKING)
SHIPPING = Pivot(shop.ship_order, to="shipping")
Side = tuple[App, Saga[Any] | Choreography[Any]]


def saga_of(*steps: Any, listening: Sequence[Service] = (), **given: Any) -> Side:
    ends = {"completed": completed, "compensated": failed}
    saga = Saga("order", start=shop.PlaceOrder, steps=steps or (charging(), RESERVING, SHIPPING), **{**ends, **given})
    return App("shop", sagas=(saga,), services=(*COMMANDED, *listening)), saga


def chain(*services: Service, listening: Sequence[Service] = ()) -> Side:
    flow = order_flow(*services)
    return App("shop", services=(*members(*services), *listening), choreographies=(flow,)), flow


def test_the_same_work_commanded_and_choreographed() -> None:
    told = parity(saga_of(), chain())
    assert told.held, str(told)
    assert told.vectors == 45  # three ways for each of three services; of two, the undo of what is done may fail
    assert told.not_compared == ("a cancel of the saga; choreography 'order': nothing takes it back",)
    assert str(told).endswith("✔ at parity: the same effects, ends, facts heard, and what is parked")
    assert parity(chain(), saga_of()).held
    assert parity(saga_of(), saga_of()).not_compared == ()


def differences(one: Side, other: Side) -> tuple[str, ...]:
    told: ParityReport = parity(one, other)
    assert not told.held
    return told.differences


def test_exhaustion_has_to_be_declared_alike() -> None:
    hasty = saga_of(charging(RetryPolicy()), RESERVING, SHIPPING)
    assert differences(hasty, chain()) == (
        "payment, once tried for the last time, is undone in saga 'order', and waits for a person in choreography"
        " 'order'",
    )


def test_another_end_is_a_difference() -> None:
    def never(order: shop.PlaceOrder) -> shop.OrderRejected:
        return shop.OrderRejected(order_id=order.order_id, code="")

    found = differences(saga_of(compensated=never), chain())
    assert (
        "where payment is refused, inventory is done, shipping is done: saga 'order' ends with order-rejected.v1,"
        " nothing stands; choreography 'order' ends with order-failed.v1, nothing stands" in found
    )


def test_what_outsiders_hear_is_compared() -> None:
    def told(order: shop.PlaceOrder) -> flow_of.ParcelShipped:
        return flow_of.ParcelShipped(order_id=order.order_id)

    mails = [Service("mails", facts=(flow_of.ParcelShipped,))]
    found = differences(saga_of(listening=mails), chain(listening=mails))
    assert all(one.startswith("where payment is done, inventory is done, shipping is done") for one in found)
    assert all(one.endswith("and shipping stands, mails: parcel-shipped.v1 is heard") for one in found)
    saying = saga_of(charging(), RESERVING, SHIPPING, Publish(told), listening=mails)
    assert parity(saying, chain(listening=mails)).held


def test_what_is_told_and_taken_back_is_not_heard() -> None:
    mails = [Service("mails", facts=(flow_of.PaymentCharged, flow_of.PaymentRefunded))]
    found = differences(saga_of(listening=mails), chain(listening=mails))
    assert any("shipping is done: saga" in one for one in found)  # charged, for good
    assert not any("inventory is refused, shipping is done: saga" in one for one in found)


def test_an_undo_side_by_side_is_another_one_while_one_waits() -> None:
    found = differences(saga_of(undo="at_once"), chain())
    assert found and all("the undo of" in one for one in found)
    assert len(differences(saga_of(), saga_of(undo="at_once"))) == len(found)


def test_side_by_side_on_both_sides() -> None:
    """Undone at once, as the flow does it; what gives up in the flow is undone by the saga."""
    both = Parallel(charging(RetryPolicy()), RESERVING, name="both")
    _, saga = saga_of(both, SHIPPING, undo="at_once")
    assert isinstance(saga, Saga)
    sides = SagaSide(saga, {}), FlowSide(BESIDE, {})
    told = _compared(*sides, ())
    assert told.held, str(told)
    assert told.vectors == 45


def test_an_undo_that_finds_nothing_does_not_fail() -> None:
    """One after the other on both sides; in the flow all are told to undo, also who has not begun."""
    charge, reserve = replace(CHARGE, gives_up=None), replace(RESERVE, hears=(flow_of.PaymentCharged,))
    release = replace(RELEASE, undoes=flow_of.PaymentCharged)
    ship = replace(SHIP, hears=(flow_of.StockReserved,))
    turning = replace(BESIDE, reactions=[charge, REFUND, reserve, release, ship, COMPLETE, FAIL, *TURNS])
    _, saga = saga_of(undo="at_once")
    assert isinstance(saga, Saga)
    told = _compared(SagaSide(saga, {}), FlowSide(turning, {}), ())
    assert told.held, str(told)


def test_work_that_only_one_has() -> None:
    alone = saga_of(SHIPPING_ALONE)
    found = differences(alone, chain())
    assert found == (
        "payment works in choreography 'order' only", "inventory works in choreography 'order' only",
    )  # fmt: skip


def ship_it(order: shop.PlaceOrder) -> shop.ShipOrder:
    return shop.ShipOrder(order_id=order.order_id, reservation_id="r")


SHIPPING_ALONE = Pivot(ship_it, to="shipping")


def test_what_one_may_refuse_and_the_other_not() -> None:
    payment = Service("payment")
    reaction(payment, "charge", flow_of.OrderPlaced, publishes=flow_of.PaymentCharged)
    undo = (flow_of.OutOfStock, flow_of.StockReleased)
    reaction(payment, "refund", *undo, undoes=flow_of.OrderPlaced, publishes=flow_of.PaymentRefunded)
    found = differences(saga_of(), chain(payment, orders_service((flow_of.PaymentRefunded,))))
    assert found == ("payment may refuse in saga 'order', and not in choreography 'order'",)


def test_two_pieces_of_one_service_are_named() -> None:
    def charge_again(order: shop.PlaceOrder) -> shop.ChargePayment:
        return shop.charge_payment(order)

    twice = saga_of(charging(), Step(charge_again, to="payment", compensation=shop.refund_payment), RESERVING, SHIPPING)
    found = differences(twice, chain())
    assert "payment.charge_payment works in saga 'order' only" in found
    (only, *_) = parity(twice, chain(), same={"payment.charge_payment": "payment"}).differences
    assert only == "payment.charge_again works in saga 'order' only"
    with pytest.raises(UsageError, match=r"saga 'order' has no work 'shipping\.ship'"):
        parity(twice, chain(), same={"shipping.ship": "shipping"})


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(UsageError, match="saga 'order' cannot be compared: sleep is a sleep"):
        parity(saga_of(charging(), RESERVING, Sleep(timedelta(1), name="sleep"), SHIPPING), chain())


# --- at the command line ---

COMMANDING, _ = saga_of()
FLOWING, _ = chain()
HASTY, _ = saga_of(charging(RetryPolicy()), RESERVING, SHIPPING)
HERE = "tests.exploration.test_parity"


def test_verify_compares_two(choros: Choros) -> None:
    said = choros("verify", f"{HERE}:COMMANDING", "--parity", "order", f"{HERE}:FLOWING/order")
    assert (said.code, "✔ at parity" in said.out) == (0, True), said
    said = choros("verify", f"{HERE}:HASTY", "--parity", "order", f"{HERE}:FLOWING/order", "--json", "told.json")
    assert (said.code, "✖ payment, once tried for the last time" in said.out) == (1, True)
    assert json.loads(Path("told.json").read_text())["parity"]["held"] is False


def test_verify_compares_what_there_is(choros: Choros) -> None:
    said = choros("verify", f"{HERE}:COMMANDING", "--parity", "order", "ordre")
    assert (said.code, "There is no saga and no choreography 'ordre' in this application." in said.err) == (2, True)

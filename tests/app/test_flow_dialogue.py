"""A dialogue with a flow: what each service hears, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from choros import Choreography, Fact, Service
from choros.testing import FlowTest
from tests.app import flow_shop as shop
from tests.app.flow_shop import order_flow
from tests.app.test_flow_checks import Begun, Ended, Noted, Withdrawn, flow_of, reaction, turning
from tests.exploration.flow_examples import TWICE_BAD, Suspicious

PLACED = shop.OrderPlaced(order_id="7")


def of(kind: type[Fact]) -> Any:
    return kind.from_json('{"order_id": "7"}') if "order_id" in kind.model_fields else kind.from_json('{"id": "7"}')


def begun(flow: Choreography[Any] | None = None) -> FlowTest:
    test = FlowTest(flow or order_flow())
    test.start(PLACED if flow is None else of(flow.start))
    return test


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as raised:
        act()
    return str(raised.value)


def test_all_goes_well() -> None:
    test = begun()
    test.expect("payment", shop.OrderPlaced).says(of(shop.PaymentCharged))
    test.expect("inventory", shop.PaymentCharged).says(of(shop.StockReserved))
    test.expect("shipping", shop.StockReserved).says(of(shop.ParcelShipped))
    assert test.end is None
    test.expect("orders", of(shop.ParcelShipped)).says(of(shop.OrderCompleted))
    test.expect_nothing()
    assert test.end == of(shop.OrderCompleted)
    assert test.standing == ["inventory.reserve", "payment.charge", "shipping.ship"]
    assert len(test.told) == 5


def test_what_fails_is_undone_in_a_chain() -> None:
    test = begun()
    test.expect("payment", PLACED).says(of(shop.PaymentCharged))
    test.expect("inventory", shop.PaymentCharged).says(of(shop.StockReserved))
    test.expect("shipping", shop.StockReserved).says(of(shop.AddressUnknown))
    assert test.standing == ["inventory.reserve", "payment.charge"]
    test.expect("inventory", shop.AddressUnknown).says(of(shop.StockReleased))
    test.expect("payment", shop.StockReleased).says(of(shop.PaymentRefunded))
    test.expect("orders", shop.PaymentRefunded).says(of(shop.OrderFailed))
    test.expect_nothing()
    assert (test.end, test.standing) == (of(shop.OrderFailed), [])


def race() -> FlowTest:
    return begun(flow_of(*turning(Noted), bad=shop.OrderFailed, turns=Noted))


def test_an_undo_comes_before_what_it_undoes() -> None:
    test = race()
    test.expect("right", Begun).says(of(shop.OutOfStock))
    test.expect("closer", shop.OutOfStock).says(of(Noted))
    test.expect("left", Noted).says(of(shop.PaymentRefunded))
    assert "left.work says nothing: it was undone before" in refused(
        lambda: test.expect("left", Begun).says(of(shop.PaymentCharged))
    )
    test.expect("left", Begun).is_withdrawn()
    test.expect("closer", shop.PaymentRefunded).says(of(shop.OrderFailed))
    test.expect_nothing()
    assert test.standing == []


def test_the_first_end_counts() -> None:
    test = race()
    test.expect("left", Begun).says(of(shop.PaymentCharged))
    assert "left.give_back" not in refused(test.expect_nothing)
    assert "closer.complete does not come too late" in refused(
        lambda: test.expect("closer", shop.PaymentCharged).is_too_late()
    )
    test.expect("closer", shop.PaymentCharged).says(of(Ended))
    test.expect("right", Begun).says(of(shop.OutOfStock))
    assert "closer.turn comes too late with Noted(id='7'): the flow has been decided" in refused(
        lambda: test.expect("closer", shop.OutOfStock).says(of(Noted))
    )
    test.expect("closer", shop.OutOfStock).is_too_late()
    test.expect_nothing()
    assert test.standing == ["left.work"]


def test_a_retraction_after_a_good_end() -> None:
    left, closer = Service("left"), Service("closer")
    reaction(left, "work", Begun, publishes=shop.PaymentCharged)
    reaction(left, "give_back", Withdrawn, undoes=Begun)
    reaction(closer, "complete", shop.PaymentCharged, publishes=Ended)
    test = begun(flow_of(left, closer, retraction=Withdrawn))
    test.expect("left", Begun).says(of(shop.PaymentCharged))
    test.expect("closer", shop.PaymentCharged).says(of(Ended))
    test.expect_nothing()
    test.retract(of(Withdrawn))
    test.expect("left", Withdrawn).says()
    assert (test.end, test.standing) == (of(Ended), [])
    assert "nothing takes it back, and not Withdrawn" in refused(lambda: begun().retract(of(Withdrawn)))


def test_who_gives_up_says_so() -> None:
    flow = order_flow()
    giving = [
        replace(one, gives_up=shop.PaymentDeclined) if one.said == "payment.charge" else one for one in flow.reactions
    ]
    flow.outline = replace(flow.outline, reactions=giving)
    test = begun(flow)
    assert "may say PaymentCharged, and not OutOfStock" in refused(
        lambda: test.expect("payment", shop.OrderPlaced).says(of(shop.OutOfStock))
    )
    test.expect("payment", shop.OrderPlaced).gives_up(of(shop.PaymentDeclined))
    test.expect("orders", shop.PaymentDeclined).says(of(shop.OrderFailed))
    test.expect_nothing()
    other = begun()
    assert "payment.charge waits for a person when it cannot go on" in refused(
        lambda: other.expect("payment", shop.OrderPlaced).gives_up(of(shop.PaymentDeclined))
    )


def test_what_waits_for_several_hears_all_of_them() -> None:
    flow = order_flow()
    ship = next(one for one in flow.reactions if one.said == "shipping.ship")
    joined = replace(ship, hears=(shop.PaymentCharged, shop.StockReserved))
    flow.outline = replace(flow.outline, reactions=[joined if one is ship else one for one in flow.reactions])
    test = begun(flow)
    test.expect("payment", shop.OrderPlaced).says(of(shop.PaymentCharged))
    assert "Expected shipping to hear PaymentCharged and StockReserved, but inventory.reserve has" in refused(
        lambda: test.expect("shipping", shop.PaymentCharged, shop.StockReserved)
    )
    test.expect("inventory", shop.PaymentCharged).says(of(shop.StockReserved))
    heard = test.expect("shipping", shop.StockReserved, shop.PaymentCharged)
    assert [type(fact) for fact in heard.facts] == [shop.PaymentCharged, shop.StockReserved]
    heard.says(of(shop.ParcelShipped))
    assert "Expected shipping to hear StockReserved, but orders.complete has" in refused(
        lambda: test.expect("shipping", shop.StockReserved)
    )


def test_a_failure_tells_what_happened() -> None:
    test = begun()
    said = refused(lambda: test.expect("orders", shop.OrderPlaced))
    assert said == (
        "Expected orders to hear OrderPlaced, but payment.charge has OrderPlaced(order_id='7') to hear.\n"
        "What happened in choreography 'order':\n  somebody says OrderPlaced(order_id='7')"
    )
    assert "It begins once, with OrderPlaced, and not with" in refused(lambda: test.start(PLACED))
    assert "payment.charge is called: nothing has undone it" in refused(
        lambda: test.expect("payment", shop.OrderPlaced).is_withdrawn()
    )
    test.expect("payment", shop.OrderPlaced).says(of(shop.PaymentDeclined))
    test.expect("orders", shop.PaymentDeclined).says(of(shop.OrderFailed))
    assert "nobody hears anything any more" in refused(lambda: test.expect("orders", shop.OrderPlaced))


def test_what_is_undone_twice_says_nothing_the_second_time() -> None:
    flow = order_flow()
    flow.outline = TWICE_BAD
    test = begun(flow)
    test.expect("payment", shop.OrderPlaced).says(of(shop.PaymentCharged))
    test.expect("inventory", shop.OrderPlaced).says(of(shop.OutOfStock))
    test.expect("fraud", shop.OrderPlaced).says(of(Suspicious))
    test.expect("payment", Suspicious).says(of(shop.PaymentRefunded))
    assert "payment.refund says nothing: that is undone already" in refused(
        lambda: test.expect("payment", shop.OutOfStock).says(of(shop.PaymentRefunded))
    )
    test.expect("payment", shop.OutOfStock).is_withdrawn()
    test.expect("orders", shop.PaymentRefunded).says(of(shop.OrderFailed))
    test.expect_nothing()


def test_what_is_about_another_key_belongs_to_another_flow() -> None:
    test = begun()
    other = shop.PaymentCharged(order_id="8")
    said = refused(lambda: test.expect("payment", PLACED).says(other))
    assert "payment.charge says PaymentCharged(order_id='8'), whose key is '8', in the flow of '7'." in said
    assert test.told == (PLACED,)


def test_a_key_that_is_of_the_start_alone_says_nothing_of_other_facts() -> None:
    flow = order_flow(key=lambda fact: fact.order_id if isinstance(fact, shop.OrderPlaced) else fact.nothing)
    test = begun(flow)
    test.expect("payment", PLACED).says(shop.PaymentCharged(order_id="8"))
    assert len(test.told) == 2

"""What cannot work in a flow is said when it is declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from choros import (
    App,
    Choreography,
    DeclarationError,
    Fact,
    Pivot,
    Publish,
    Saga,
    Service,
    Transaction,
    Wait,
    all_of,
)
from choros.app.flow_courses import courses
from choros.app.flow_reactions import reached_from, reactions_of
from tests.app import flow_shop as shop
from tests.app.flow_shop import members, order_flow, orders_service, payment_service
from tests.saga import shop as saga_shop


class Begun(Fact):
    id: str


class Ended(Fact):
    id: str


class Noted(Fact):
    id: str


class Withdrawn(Fact):
    id: str


def reaction(service: Service, name: str, *heard: type[Fact], silent: bool = False, **given: Any) -> Callable[..., Any]:
    """Registers one that publishes, silently or not."""

    async def publishing(fact: Fact, db: Transaction) -> Fact: ...  # type: ignore[empty-body]  # nobody calls it

    async def perhaps(fact: Fact, db: Transaction) -> None: ...

    function: Any = perhaps if silent or not given.get("publishes") else publishing
    function.__annotations__["return"] = None if function is perhaps else Any
    function.__name__ = name
    service.on(*heard, **given)(function)
    return function  # type: ignore[no-any-return]  # made above


def flow_of(*services: Service, **given: Any) -> Choreography[Any]:
    usual: dict[str, Any] = {"name": "flow", "start": Begun, "key": lambda fact: fact.id, "good": Ended}
    return Choreography(**{**usual, "closer": "closer", "services": services, **given})


def refused(flow: Callable[[], object]) -> DeclarationError:
    with pytest.raises(DeclarationError) as raised:
        flow()
    assert raised.value.hint
    return raised.value


# --- an effect that a bad end leaves behind ---


def test_an_effect_without_an_undo() -> None:
    error = refused(lambda: order_flow(payment_service(refunded_at=(shop.StockReleased,)), orders_failing_on_all()))
    assert "may end with OrderFailed while payment.charge stands: nobody undoes it after" in str(error)
    assert "OutOfStock" in str(error)
    assert error.hint.startswith("@payment.on(OutOfStock, undoes='charge'); or standing=(charge,)")


def orders_failing_on_all() -> Service:
    return orders_service(failed_at=(shop.PaymentDeclined, shop.PaymentRefunded, shop.OutOfStock))


def test_what_only_looks_may_be_left_standing() -> None:
    looking = payment_service(refunded_at=())
    charge = looking.reactions["order-placed.v1"].function
    orders = orders_service(failed_at=(shop.PaymentDeclined, shop.OutOfStock, shop.StockReleased))
    assert "while payment.charge stands" in str(refused(lambda: order_flow(looking, orders)))
    assert order_flow(looking, orders, standing=(charge,)).outline.effects


def beside() -> tuple[Service, Service, Service]:
    """One that fails beside another that works: what is still to be done counts as much as what is done."""
    left, right, closer = Service("left"), Service("right"), Service("closer")
    reaction(left, "work", Begun, publishes=shop.PaymentCharged)
    reaction(right, "refuse", Begun, publishes=shop.OutOfStock)
    reaction(closer, "fail", shop.OutOfStock, publishes=shop.OrderFailed)
    reaction(closer, "complete", shop.PaymentCharged, publishes=Ended)
    return left, right, closer


def test_an_effect_beside_the_one_that_failed() -> None:
    error = refused(lambda: flow_of(*beside(), bad=shop.OrderFailed))
    assert "may end with OrderFailed while left.work stands" in str(error)


def test_an_effect_that_is_still_on_its_way_needs_an_undo_too() -> None:
    flow = order_flow().outline
    open_ones = [one for one in courses(flow) if not one.rests]
    assert open_ones and all(shop.OrderPlaced in one.facts for one in open_ones)


def either_way(undoes: type[Fact] | str) -> Choreography[Any]:
    """What begins work is one of two facts, and something bad may come of both."""
    left, right, closer = Service("left"), Service("right"), Service("closer")
    looks = reaction(right, "choose", Begun, publishes=(shop.PaymentCharged, shop.StockReserved))
    reaction(left, "work", shop.PaymentCharged, shop.StockReserved, effect="work", publishes=Noted)
    reaction(right, "ship", Noted, publishes=(shop.ParcelShipped, shop.AddressUnknown))
    reaction(left, "give_back", shop.AddressUnknown, undoes=undoes, publishes=shop.PaymentRefunded)
    reaction(closer, "complete", shop.ParcelShipped, publishes=Ended)
    reaction(closer, "fail", shop.PaymentRefunded, publishes=shop.OrderFailed)
    return flow_of(left, right, closer, bad=shop.OrderFailed, standing=(looks,))


def test_an_effect_by_name_is_undone_whichever_fact_has_caused_it() -> None:
    assert len(either_way("work").outline.effects) == 3
    error = refused(lambda: either_way(shop.PaymentCharged))
    assert "while left.work stands: nobody undoes it after Begun, StockReserved, Noted, AddressUnknown" in str(error)


def test_a_no_is_raised_and_not_returned() -> None:
    payment = Service("payment")

    @payment.on(shop.OrderPlaced, effect="charge", publishes=(shop.PaymentCharged, shop.PaymentDeclined))
    async def charge(placed: shop.OrderPlaced, db: Transaction) -> shop.PaymentCharged | shop.PaymentDeclined: ...  # type: ignore[empty-body]  # nobody calls it

    reaction(payment, "refund", shop.OutOfStock, shop.StockReleased, undoes="charge", publishes=shop.PaymentRefunded)
    error = refused(lambda: order_flow(payment))
    assert "payment.charge returns PaymentDeclined, which says that nothing was done" in str(error)
    assert error.hint.startswith("raise Refused(code, fact=PaymentDeclined(...))")
    assert "undoes=..." in error.hint  # it may have been forgotten


# --- two undoers ---


def test_two_undoers_of_one_effect() -> None:
    payment = payment_service(refunded_at=(shop.OutOfStock,))
    reaction(payment, "refund_again", shop.StockReleased, undoes=shop.OrderPlaced, publishes=shop.PaymentRefunded)
    order_flow(payment)  # never both in one flow
    twice = payment_service(refunded_at=(shop.OutOfStock, shop.AddressUnknown))
    reaction(twice, "refund_again", shop.StockReleased, undoes=shop.OrderPlaced, publishes=shop.PaymentRefunded)
    error = refused(lambda: order_flow(twice))
    assert "payment.refund and payment.refund_again both undo payment.charge where" in str(error)
    assert "AddressUnknown, StockReleased are told in one flow" in str(error)


def test_a_bad_end_that_does_not_wait_for_an_undo() -> None:
    hasty = payment_service(refunded_at=(shop.OutOfStock, shop.AddressUnknown))
    error = refused(lambda: order_flow(hasty))
    assert "OrderFailed may be told before inventory.release has undone inventory.reserve" in str(error)
    assert error.hint == "have inventory.release publish StockReleased, and let 'orders' wait for that: all_of()."


# --- facts that nobody publishes or handles, and services that are not there ---


def test_an_end_that_nobody_publishes() -> None:
    error = refused(lambda: order_flow(turns=Noted))
    assert "is said to come to Noted, which nobody publishes once it has begun" in str(error)
    assert error.hint == "@orders.on(..., publishes=Noted)."


def test_an_end_that_would_be_published_if_a_service_took_part() -> None:
    closer = Service("closer")  # and whoever notes things is forgotten
    reaction(closer, "close", Noted, publishes=Ended)
    error = refused(lambda: flow_of(closer))
    assert error.hint == "name in services= who publishes Noted: closer.close waits for that."


def test_a_reaction_to_what_nobody_publishes() -> None:
    payment = payment_service()
    reaction(payment, "give_back", Noted, undoes=shop.OrderPlaced)
    error = refused(lambda: order_flow(payment))
    assert "payment.give_back waits for Noted, which nobody publishes in it" in str(error)
    assert error.hint == "publishes=(Noted,) where it happens."


def test_a_fact_that_nobody_handles() -> None:
    payment = payment_service()
    reaction(payment, "print", shop.PaymentCharged, publishes=Noted)
    flow = order_flow(payment, standing=(payment.reactions["payment-charged.v1"].function,))
    error = refused(lambda: App("shop", services=members(payment), choreographies=(flow,)))
    assert "nobody handles Noted, and it is no end of it" in str(error)
    App("shop", services=(*members(payment), Service("files", facts=(Noted,))), choreographies=(flow,))


def test_an_undo_of_nothing() -> None:
    payment = payment_service()
    reaction(payment, "give_back", shop.AddressUnknown, undoes=shop.StockReserved)
    error = refused(lambda: order_flow(payment))
    assert "payment.give_back undoes what 'payment' does about StockReserved, which is nothing" in str(error)


def test_a_service_that_may_miss_facts() -> None:
    bounded = Service("closer", queue_limit=10)
    reaction(bounded, "end", Begun, publishes=Ended)
    error = refused(lambda: flow_of(bounded))
    assert "service 'closer' takes part, and may drop facts or hear those of before it" in str(error)


# --- how it ends ---


def test_a_loop_without_an_exit() -> None:
    ping, closer = Service("ping"), Service("closer")
    reaction(ping, "play", Begun, publishes=shop.OutOfStock)
    reaction(ping, "back", shop.OutOfStock, publishes=shop.StockReleased)
    reaction(closer, "again", shop.StockReleased, publishes=shop.OutOfStock)
    reaction(closer, "end", Begun, publishes=Ended)
    error = refused(lambda: flow_of(ping, closer))
    assert "goes round for ever: nothing but OutOfStock, StockReleased comes of OutOfStock" in str(error)


def test_a_loop_with_an_exit() -> None:
    ping, closer = Service("ping"), Service("closer")
    play = reaction(ping, "play", Begun, publishes=shop.OutOfStock)
    again = reaction(ping, "back", shop.OutOfStock, publishes=(shop.StockReleased, shop.ParcelShipped))
    more = reaction(closer, "again", shop.StockReleased, publishes=shop.OutOfStock)
    reaction(closer, "end", shop.ParcelShipped, publishes=Ended)
    with pytest.raises(DeclarationError, match="may never end"):
        flow_of(ping, closer, standing=(play, again, more))  # a fact of each type once leads nowhere


def test_a_flow_that_stops_half_way() -> None:
    orders = orders_service(failed_at=(shop.PaymentRefunded,))
    error = refused(lambda: order_flow(orders))
    assert "may never end: nothing more comes of OrderPlaced, PaymentDeclined" in str(error)


def test_a_bad_fact_beside_a_good_end() -> None:
    left, right, closer = Service("left"), Service("right"), Service("closer")
    reaction(left, "work", Begun, publishes=shop.PaymentCharged)
    reaction(left, "give_back", shop.OutOfStock, undoes=Begun, publishes=shop.PaymentRefunded)
    reaction(right, "refuse", Begun, publishes=shop.OutOfStock)
    reaction(closer, "fail", shop.PaymentRefunded, publishes=shop.OrderFailed)
    reaction(closer, "complete", shop.PaymentCharged, publishes=Ended)
    error = refused(lambda: flow_of(left, right, closer, bad=shop.OrderFailed))
    assert "may end with Ended while left.give_back undoes: OutOfStock may be told beside it" in str(error)
    assert "turns=" in error.hint


def turning(undone_on: type[Fact]) -> tuple[Service, ...]:
    left, right, closer = Service("left"), Service("right"), Service("closer")
    reaction(left, "work", Begun, publishes=shop.PaymentCharged)
    reaction(left, "give_back", undone_on, undoes=Begun, publishes=shop.PaymentRefunded)
    reaction(right, "refuse", Begun, publishes=shop.OutOfStock)
    reaction(closer, "turn", shop.OutOfStock, publishes=Noted)
    reaction(closer, "complete", shop.PaymentCharged, publishes=Ended)
    reaction(closer, "fail", shop.PaymentRefunded, publishes=shop.OrderFailed)
    return left, right, closer


def test_the_closer_decides_by_a_turn() -> None:
    flow = flow_of(*turning(Noted), bad=shop.OrderFailed, turns=Noted)
    assert flow.turns == (Noted,)
    closing: set[type[Fact]] = {Ended, shop.OrderFailed}
    ends = [one.facts & closing for one in courses(flow.outline) if one.rests]
    assert set(ends) == {frozenset[type[Fact]]({end}) for end in closing}


def test_what_ends_badly_is_undone_before() -> None:
    services = turning(shop.OrderFailed)
    reaction(services[2], "also", Noted, publishes=shop.OrderFailed)
    error = refused(lambda: flow_of(*services, bad=shop.OrderFailed, turns=Noted))
    assert "OrderFailed says that all is undone, and left.give_back undoes after it" in str(error)


# --- sagas beside it ---


def placed(order: saga_shop.PlaceOrder) -> shop.OrderPlaced:
    return shop.OrderPlaced(order_id=order.order_id)


def withdrawn(order: saga_shop.PlaceOrder) -> Withdrawn:
    return Withdrawn(id=order.order_id)


def app_with(flow: Choreography[Any], *steps: Any, services: tuple[Service, ...] = ()) -> App:
    saga = Saga("checkout", start=saga_shop.PlaceOrder, key=lambda order: order.order_id, steps=steps)
    cards = Service("cards", commands=(saga_shop.ChargePayment, saga_shop.RefundPayment))
    return App("shop", sagas=(saga,), services=(*(services or members()), cards), choreographies=(flow,))


PIVOT = Pivot(saga_shop.charge_payment, to="cards")


def test_a_saga_begins_a_flow_behind_its_pivot() -> None:
    app_with(order_flow(), PIVOT, Publish(placed))
    error = refused(lambda: app_with(order_flow(), Publish(placed), PIVOT))
    assert "saga 'checkout': placed begins choreography 'order' before the pivot, and nothing" in str(error)


def test_what_a_saga_begins_early_it_takes_back() -> None:
    early = Publish(placed, early=True, retraction=withdrawn)
    error = refused(lambda: app_with(order_flow(), early, PIVOT))
    assert "takes that back by Withdrawn, which the flow does not know" in str(error)
    error = refused(lambda: order_flow(retraction=Withdrawn))
    assert "Withdrawn takes it back, and nobody undoes payment.charge then" in str(error)


def test_a_retraction_undoes_all_after_a_good_end_too() -> None:
    services = Service("left"), Service("closer")
    reaction(services[0], "work", Begun, publishes=shop.PaymentCharged)
    reaction(services[1], "complete", shop.PaymentCharged, publishes=Ended)
    assert "nobody undoes left.work" in str(refused(lambda: flow_of(*services, retraction=Withdrawn)))
    reaction(services[0], "give_back", Withdrawn, undoes=Begun)
    flow = flow_of(*services, retraction=Withdrawn)
    assert Withdrawn in flow.facts

    def begun(order: saga_shop.PlaceOrder) -> Begun:
        return Begun(id=order.order_id)

    app_with(flow, Publish(begun, early=True, retraction=withdrawn), PIVOT, services=services)


def order_of(order: saga_shop.PlaceOrder) -> str:
    return order.order_id


def awaiting(fact: type[Fact], **given: Any) -> Wait:
    return Wait(fact, key=order_of, within=timedelta(hours=1), **given)


def test_a_saga_waits_before_its_pivot_for_what_stays() -> None:
    error = refused(lambda: app_with(order_flow(), awaiting(shop.StockReserved), PIVOT))
    assert "waits for StockReserved, after which choreography 'order' may still end badly" in str(error)
    app_with(order_flow(), awaiting(shop.ParcelShipped), PIVOT)
    app_with(order_flow(), awaiting(shop.OrderFailed), PIVOT)
    app_with(order_flow(), PIVOT, awaiting(shop.StockReserved, otherwise="go_on"))


def test_reactions_that_wait_for_several_facts_and_effects_by_name_are_read_once() -> None:
    service = Service("shipping")

    @service.on(all_of(shop.PaymentCharged, shop.StockReserved), effect="ship")
    async def ship(charged: shop.PaymentCharged, reserved: shop.StockReserved, db: Transaction) -> None: ...

    @service.on(shop.OrderFailed, undoes="ship")
    async def take_back(failed: shop.OrderFailed, db: Transaction) -> None: ...

    found = {one.name: (one.hears, one.undoes) for one in reactions_of([service])}
    both = (shop.PaymentCharged, shop.StockReserved)
    assert found == {"ship": (both, None), "take_back": ((shop.OrderFailed,), shop.PaymentCharged)}
    assert [one.name for one in reached_from(both, reactions_of([service]))] == ["ship"]
    assert [one.name for one in reached_from(both[:1], reactions_of([service]))] == []


@pytest.mark.parametrize(
    ("undone", "hears"), [(all_of(shop.PaymentCharged, shop.StockReserved), shop.PaymentCharged), ("ship", None)]
)
def test_an_undo_of_what_nobody_does(undone: Any, hears: Any) -> None:
    service = Service("shipping")

    @service.on(shop.OrderFailed, undoes=undone)
    async def take_back(failed: shop.OrderFailed, db: Transaction) -> None: ...

    if hears is None:
        with pytest.raises(DeclarationError, match="undoes 'ship', and nothing there is called so"):
            reactions_of([service])
    else:
        assert reactions_of([service])[0].undoes is hears


def test_what_is_said_at_last_is_read_off_the_reaction() -> None:
    service = Service("payment")

    def decline(placed: shop.OrderPlaced) -> shop.PaymentDeclined: ...  # type: ignore[empty-body] # nobody calls it

    @service.on(shop.OrderPlaced, gives_up=decline, publishes=(shop.PaymentCharged, shop.PaymentDeclined))
    async def charge(placed: shop.OrderPlaced, db: Transaction) -> shop.PaymentCharged: ...  # type: ignore[empty-body] # nor this

    assert [one.gives_up for one in reactions_of([service])] == [shop.PaymentDeclined]


def test_who_takes_part_may_begin_it_for_what_is_no_fact_of_it() -> None:
    payment = payment_service()
    reaction(payment, "order_again", Noted, publishes=shop.OrderPlaced)
    assert Noted not in order_flow(payment).facts

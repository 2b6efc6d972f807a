"""A choreography is a value: what its services do about its facts is read off them, and what cannot be is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros import App, Choreography, DeclarationError, Fact, Message, Service, Transaction
from tests.app import flow_shop as shop
from tests.app.flow_shop import members, order_flow, payment_service


class Greeted(Fact):
    name: str


class NoFact(Message):
    name: str


def test_what_its_services_do_is_read_off_them() -> None:
    flow = order_flow()
    said = [reaction.said for reaction in flow.reactions]
    assert said[0] == "payment.charge" and said.index("inventory.reserve") < said.index("shipping.ship")
    assert sorted(said) == [
        "inventory.release", "inventory.reserve", "orders.complete", "orders.fail", "orders.fail", "payment.charge",
        "payment.refund", "payment.refund", "shipping.ship",
    ]  # fmt: skip
    assert flow.facts[0] is shop.OrderPlaced
    assert set(flow.facts) == {
        one for one in vars(shop).values() if isinstance(one, type) and issubclass(one, Fact)
    } - {Fact}
    assert flow.ends == (shop.OrderCompleted, shop.OrderFailed)
    assert (flow.name, flow.version, flow.within) == ("order", 1, timedelta(hours=1))
    assert repr(flow) == "Choreography('order', version=1)"


def test_an_undo_says_what_it_takes_back_and_who_may_be_silent() -> None:
    undo = next(one for one in order_flow().reactions if one.said == "inventory.release")
    assert (undo.hears, undo.undoes, undo.publishes) == (
        (shop.AddressUnknown,), shop.PaymentCharged, (shop.StockReleased,),
    )  # fmt: skip
    assert undo.writes and not undo.silent


def test_what_a_service_does_besides_is_no_part_of_it() -> None:
    payment = payment_service()

    @payment.on(Greeted)
    async def greet(fact: Greeted, db: Transaction) -> None: ...

    assert "payment.greet" not in [one.said for one in order_flow(payment).reactions]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "Order Flow"}, "'Order Flow' is no name for a choreography."),
        ({"version": 0}, "choreography 'order': version 0 is no number of a version."),
        ({"version": True}, "choreography 'order': version True is no number of a version."),
        ({"version": "1"}, "choreography 'order': version '1' is no number of a version."),
        ({"start": NoFact}, "is no Fact."),
        ({"start": Fact}, "is no Fact."),
        ({"key": "order_id"}, "choreography 'order': key='order_id' is no function."),
        ({"good": ()}, "choreography 'order' has no good end."),
        (
            {"good": NoFact},
            "choreography 'order': good names <class 'tests.app.test_choreography.NoFact'>, which is no Fact.",
        ),
        ({"good": "completed"}, "choreography 'order': good='completed' is no sequence."),
        ({"retraction": shop.OrderPlaced}, "OrderPlaced is said to be two of"),
        ({"retraction": NoFact}, "choreography 'order': retraction names"),
        ({"standing": (print,)}, "choreography 'order': standing names print, which is no reaction of it."),
        ({"bad": (shop.OrderCompleted,)}, "OrderCompleted is said to be two of"),
        ({"turns": shop.OrderPlaced}, "OrderPlaced is said to be two of"),
        ({"closer": "order"}, "its closer is 'order', which is none of its services."),
        ({"closer": "payment"}, "orders.fail publishes OrderFailed, and 'payment' is its closer."),
        ({"services": ("payment",)}, "'payment' is no Service."),
        ({"services": (payment_service(), payment_service())}, "service 'payment' is named twice."),
        ({"services": "payment"}, "is no sequence."),
        ({"within": timedelta(0)}, "within"),
    ],
)
def test_a_mistake_is_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        order_flow(**given)
    assert sentence in str(raised.value)
    assert raised.value.hint or "Did you mean" in str(raised.value)


def test_an_application_has_it_by_name_and_version() -> None:
    flow, newer = order_flow(), order_flow(version=2)
    app = App("shop", services=members(), choreographies=(flow, newer))
    assert app.choreographies == {("order", 1): flow, ("order", 2): newer}
    assert app.within("other").choreographies == app.choreographies


def test_an_application_has_each_version_once() -> None:
    flow = order_flow()
    with pytest.raises(DeclarationError, match="choreography 'order' is declared twice in version 1"):
        App("shop", services=members(), choreographies=(flow, flow))


def test_an_application_has_who_takes_part() -> None:
    flow: Choreography[Any] = order_flow()
    without = [service for service in members() if service.name != "inventory"]
    with pytest.raises(DeclarationError, match=r"needs inventory.reserve, and service 'inventory' is no part of this"):
        App("shop", services=without, choreographies=(flow,))
    deaf = Service("inventory", facts=(Greeted,))
    with pytest.raises(DeclarationError, match="'inventory' does not hear PaymentCharged in this application"):
        App("shop", services=(*without, deaf), choreographies=(flow,))


def test_a_flow_may_be_declared_with_signatures_and_the_services_must_do_as_they_say() -> None:
    flow = order_flow()
    App("shop", services=members(), choreographies=(flow,))
    for name in ("payment", "inventory"):  # contracts only: their handlers are elsewhere
        facts = {fact for one in flow.reactions if one.service == name for fact in one.hears}
        App("shop", services=members(Service(name, facts=facts)), choreographies=(flow,))
    other = payment_service(refunded_at=(shop.StockReleased,))
    other.on(shop.OutOfStock)(note_it)
    with pytest.raises(
        DeclarationError, match=r"has payment\.refund on OutOfStock, and the service does something else"
    ):
        App("shop", services=members(other), choreographies=(flow,))


async def note_it(fact: shop.OutOfStock, db: Transaction) -> None: ...

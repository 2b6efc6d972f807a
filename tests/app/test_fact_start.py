"""What is wrong with a start by a fact is said when it is written."""

from __future__ import annotations

from typing import Any

import pytest

from choros import App, DeclarationError, Fact, FactStart, Message, Pivot, Saga, UsageError
from choros.saga.diagram import mermaid
from choros.transport.permissions import orchestrator
from choros.transport.topology import Binding, Names
from tests.runtime.checkout import QUEUE, CheckedOut, place_order, shop_app
from tests.runtime.stage import NAMES, make_app
from tests.saga import shop

ORDER = shop.ORDER
keyless = Saga("keyless", start=shop.PlaceOrder, steps=(Pivot(shop.charge_payment, to="payment"),))


class OtherCheckedOut(Fact, name="checked-out"):
    order_id: str


def of_another(fact: shop.OrderConfirmed) -> shop.PlaceOrder:
    return ORDER


def something(fact: CheckedOut) -> Message:
    return ORDER


def of_two(fact: CheckedOut, other: CheckedOut) -> shop.PlaceOrder:
    return ORDER


async def later(fact: CheckedOut) -> shop.PlaceOrder:
    return ORDER


def from_other(fact: OtherCheckedOut) -> shop.PlaceOrder:
    return ORDER


def declared(saga: Any = shop.order_saga, **given: Any) -> FactStart:
    return FactStart(saga, **{"on": CheckedOut, "start": place_order, **given})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"saga": "order"}, "A FactStart starts 'order', which is no Saga."),
        ({"on": shop.PlaceOrder}, "which is no Fact."),
        ({"on": Fact}, "which is no Fact."),
        ({"start": ORDER}, "is no function."),
        ({"start": of_another}, "of_another does not make a PlaceOrder of a CheckedOut."),
        ({"start": something}, "something does not make a PlaceOrder of a CheckedOut."),
        ({"start": of_two}, "of_two does not make a PlaceOrder of a CheckedOut."),
        ({"start": later}, "later does not make a PlaceOrder of a CheckedOut."),
        ({"key": "order_id"}, "saga 'order': key='order_id' is no function."),
        ({"saga": keyless}, "saga 'keyless' starts on CheckedOut, and nothing says under which key."),
    ],
)
def test_a_mistake_is_a_sentence_with_a_hint(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(**given)
    assert sentence in caught.value.sentence
    assert caught.value.hint


def test_it_starts_a_saga_of_its_application_on_a_fact_that_is_told_apart() -> None:
    app = make_app()
    with pytest.raises(DeclarationError, match="a FactStart on CheckedOut starts saga 'keyless', which is no part"):
        App("shop", starts=[declared(keyless, key=lambda fact: fact.order_id)])
    with pytest.raises(DeclarationError, match=r"are both checked-out\.v1 on the wire"):
        App("shop", sagas=app.sagas.values(), services=app.services.values(),
            starts=[declared(), declared(on=OtherCheckedOut, start=from_other)])  # fmt: skip
    with pytest.raises(DeclarationError, match="is no sequence"):
        App("shop", starts=declared())  # type: ignore[arg-type]


def test_what_a_fact_makes_is_looked_at() -> None:
    fact = CheckedOut(order_id="o1", total=1)
    assert declared().message(fact) == shop.PlaceOrder(order_id="o1", total=1)
    assert declared().message(CheckedOut(order_id="o1", total=1, member=False)) is None
    assert declared().key_of(fact) is None
    assert declared(key=lambda one: one.order_id).key_of(fact) == "o1"
    assert declared(key=lambda one: one.total).key_of(fact) == "1"
    with pytest.raises(UsageError, match="its key is float, not a text"):
        declared(key=lambda one: one.total / 2).key_of(fact)
    with pytest.raises(UsageError, match="failed: KeyError"):
        declared(key=lambda one: {}[one.order_id]).key_of(fact)

    def wrong(fact: CheckedOut) -> shop.PlaceOrder:
        return fact  # type: ignore[return-value]

    wrong.__annotations__ = {"fact": CheckedOut, "return": shop.PlaceOrder}
    with pytest.raises(UsageError, match="made CheckedOut, not a PlaceOrder"):
        declared(start=wrong).message(fact)


def test_only_what_begins_something_comes_to_the_queue_of_the_application() -> None:
    whole = shop_app().topology
    entries = [one for one in whole.bindings if one.destination == QUEUE]
    assert entries == [Binding("shop.facts.by-type", QUEUE, "checked-out.v1"), Binding("shop.retry", QUEUE, QUEUE)]
    assert QUEUE == "shop.facts.app.shop"
    assert all(queue.name != QUEUE for queue in make_app().topology.queues)
    moved = shop_app().within("other")
    assert moved.heard == ["checked-out.v1"]
    assert Names("other").application_facts("other") in {queue.name for queue in moved.topology.queues}


def test_an_orchestrator_may_read_what_it_acts_on_and_nothing_else() -> None:
    without, hears = orchestrator(NAMES, "shop"), orchestrator(NAMES, "shop", hears=True)
    assert set(hears.reads) - set(without.reads) == {QUEUE}
    assert set(hears.writes) - set(without.writes) == {f"{QUEUE}.retry", f"{QUEUE}.dead"}


def test_the_picture_says_which_fact_begins_it() -> None:
    drawn = mermaid(shop.order_saga, begun_by=[CheckedOut])
    assert '    begun_1>"CheckedOut"] -.-> start\n' in drawn

"""Who publishes and who listens: read off the declarations, told in words, as JSON, and drawn."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from choros import App, Fact, FactStart, ForeignFacts, Program, Refused, Service
from choros.desk.flow_map import map_data, map_lines, map_mermaid, map_svg
from choros.desk.hearsay import Hearsay, hearsay_of
from choros.errors import UsageError
from choros.store.memory.barrier import MemoryTransaction
from tests.saga import shop


class Placed(Fact, name="map.placed"):
    order: str


class Charged(Fact, name="map.charged"):
    order: str


class Declined(Fact, name="map.declined"):
    order: str


class Pushed(Fact, name="map.pushed"):
    order: str


def books() -> Service:
    service = Service("books", publishes=(Charged, shop.OrderNoted))

    @service.on(Placed, publishes=(Charged, Declined))
    async def charge(fact: Placed, db: MemoryTransaction) -> Charged | Declined:
        raise Refused("card_declined", fact=Declined(order=fact.order))

    @service.on(Declined, undoes=Placed)
    async def refund(fact: Declined, db: MemoryTransaction) -> None: ...

    return service


def places(fact: Pushed) -> shop.PlaceOrder:
    return shop.PlaceOrder(order_id=fact.order, total=1)


ORDERS = App(
    "map",
    name="orders",
    sagas=[shop.order_saga],
    services=[
        Service("payment", commands=(shop.ChargePayment, shop.RefundPayment)),
        Service("inventory", commands=(shop.ReserveInventory, shop.ReleaseInventory)),
        Service("shipping", commands=(shop.ShipOrder,)),
        Service("books", facts=(Placed, shop.OrderConfirmed)),
    ],
    starts=[FactStart(shop.order_saga, on=Pushed, start=places)],
    foreign=[ForeignFacts("github", exchange="hooks", events={"com.github.push": Pushed})],
    programs=[Program("till", publishes=Placed)],
)


def found() -> Hearsay:
    return hearsay_of([ORDERS, App("map", services=[books()], name="books-app")])


def test_each_fact_with_who_says_it_and_who_hears_it() -> None:
    lines = list(map_lines(found()))
    told = "\n".join(lines)
    assert told.index("map.declined.v1") > 0
    assert (
        "map.placed.v1\n"
        "  published by  program till\n"
        "  heard by      books, publishes map.charged.v1 or map.declined.v1" in told
    )
    assert "  published by  saga order, when completed\n  heard by      books" in told
    assert "map.declined.v1\n  published by  books, on map.placed.v1\n  heard by      books, takes back" in told
    assert "map.pushed.v1\n  published by  foreign facts github\n  heard by      app.orders, for saga order" in told
    assert "order-noted.v1\n  published by  books\n  heard by      nobody here" in told
    assert list(map_lines(hearsay_of([App("map")]))) == ["nothing is published, and nobody listens"]


def test_what_nobody_here_publishes_comes_first() -> None:
    alone = hearsay_of([App("map", services=[books()])])
    assert next(iter(map_lines(alone))) == "map.placed.v1"
    assert "  published by  nobody here" in list(map_lines(alone))


def test_the_same_for_programs() -> None:
    told = {one["fact"]: one for one in json.loads(json.dumps(map_data(found())))}
    assert told["map.placed.v1"]["published_by"] == [{"name": "program till", "when": ""}]
    (heard,) = told["map.placed.v1"]["heard_by"]
    assert heard["publishes"] == ["map.charged.v1", "map.declined.v1"], "of the application that has its handlers"
    assert told["map.declined.v1"]["heard_by"][0]["undoes"] == "map.placed.v1"


def test_a_service_is_one_node_however_often_it_is_met() -> None:
    drawn = map_mermaid(found())
    assert drawn.startswith("flowchart LR\n")
    assert drawn.count('["books"]') == 1
    assert '-.->|"takes back map.placed.v1"|' in drawn
    numbers = {line.split("[", 1)[0].split(">", 1)[0].strip() for line in drawn.splitlines()[1:] if " -.-" not in line}
    ends = {end for line in drawn.splitlines() if " -.->" in line for end in (line.split()[0], line.split()[-1])}
    assert ends <= numbers, "no arrow leads to what is not drawn"


def test_the_picture_is_whole_and_says_what_it_shows() -> None:
    root = ElementTree.fromstring(map_svg(found()))
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.findtext(f"{space}title") == "Who publishes and who listens in map"
    texts = [one.text for one in root.iter(f"{space}text")]
    assert {"program till", "map.placed.v1", "foreign facts github", "app.orders"} <= set(texts)
    assert texts.count("books") == 2, "on both sides"
    boxes = [(one.get("x"), one.get("y")) for one in root.iter(f"{space}rect")]
    assert len(boxes) == len(set(boxes)) == len(texts)
    arrows = [one for one in root.iter(f"{space}path") if one.get("marker-end")]
    assert len(arrows) == sum(map(len, found().hearers.values())) + 7, "and one for each who says something"
    alone = {one.get("class") for one in root.iter(f"{space}rect")}
    assert {"who", "fact", "fact alone"} == alone


def test_those_who_cannot_hear_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="namespaces map, other"):
        hearsay_of([ORDERS, App("other")])

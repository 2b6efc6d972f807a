"""A flow in words, as a picture, and at the command line."""

from __future__ import annotations

import json

from choros import App, Service
from choros.app.flow_diagram import flow_lines, flow_mermaid
from tests.app import flow_shop as shop
from tests.app.flow_shop import members, order_flow
from tests.app.test_flow_checks import Begun, Ended, Withdrawn, flow_of, reaction
from tests.cli.test_cli import Choros, choros

__all__ = ["choros"]  # the fixture

SHOP = App("shop", services=members(), choreographies=(order_flow(), order_flow(version=2, name="other")))
HERE = "tests.app.test_flow_diagram:SHOP"


def test_in_words() -> None:
    assert list(flow_lines(order_flow())) == [
        "choreography order, version 1: begun by OrderPlaced, within 1:00:00",
        "  payment.charge on OrderPlaced: says PaymentCharged, or PaymentDeclined in place of its effect",
        "  inventory.reserve on PaymentCharged: says StockReserved, or OutOfStock in place of its effect",
        "  orders.fail on PaymentDeclined or PaymentRefunded: says OrderFailed",
        "  payment.refund on OutOfStock or StockReleased takes back what it did about OrderPlaced:"
        " says PaymentRefunded",
        "  shipping.ship on StockReserved: says ParcelShipped, or AddressUnknown in place of its effect",
        "  inventory.release on AddressUnknown takes back what it did about PaymentCharged: says StockReleased",
        "  orders.complete on ParcelShipped: says OrderCompleted",
        "  it ends well with OrderCompleted, as orders says",
        "  it ends badly with OrderFailed, with nothing left standing",
    ]


def test_in_words_of_what_ends_well_only_and_is_taken_back() -> None:
    services = Service("left"), Service("closer")
    reaction(services[0], "work", Begun, publishes=shop.PaymentCharged)
    reaction(services[0], "give_back", Withdrawn, undoes=Begun)
    reaction(services[1], "complete", shop.PaymentCharged, publishes=Ended)
    assert list(flow_lines(flow_of(*services, retraction=Withdrawn)))[1:] == [
        "  left.work on Begun: says PaymentCharged",
        "  left.give_back on Withdrawn takes back what it did about Begun: says nothing",
        "  closer.complete on PaymentCharged: says Ended",
        "  it ends well with Ended, as closer says",
        "  it is taken back by Withdrawn, whatever it came to",
    ]


def test_as_a_picture() -> None:
    lines = [line.strip() for line in flow_mermaid(order_flow()).splitlines()]
    assert lines[0] == "flowchart LR"
    assert {'f0(["OrderPlaced"])', 'f1>"PaymentCharged"]', 'f10(["OrderCompleted"])'} <= set(lines)
    assert {'r0["payment<br/>charge"]', "f0 -.-> r0", "r0 --> f1", "r0 --> f2"} <= set(lines)
    assert "f4 -.->|undo of OrderPlaced| r3" in lines


def test_check_tells_flows(choros: Choros) -> None:
    said = choros("check", HERE)
    assert said.code == 0
    assert "\n".join(flow_lines(order_flow())) in said.out
    told = json.loads(choros("check", HERE, "-o", "json").out)
    assert told["choreographies"][0] == {
        "choreography": "order", "version": 1, "outline": list(flow_lines(order_flow())),
    }  # fmt: skip


def test_graph_draws_flows(choros: Choros) -> None:
    assert choros("graph", HERE, "--flow", "order").out.startswith(flow_mermaid(order_flow()))
    assert choros("graph", HERE).out.count("flowchart LR") == 2
    said = choros("graph", HERE, "--flow", "ordre")
    assert (said.code, "There is no choreography 'ordre' in this application." in said.err) == (2, True)

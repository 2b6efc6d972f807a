"""The picture and the outline: everything that is declared is in them, and no name can break out of its label."""

import re

import pytest

from choros.saga.diagram import mermaid, outline
from choros.saga.nodes import Publish, Step
from choros.saga.saga import Saga
from tests.saga.shop import (
    PlaceOrder,
    charge_payment,
    order_confirmed,
    order_noted,
    order_saga,
    parcel_saga,
    refund_payment,
)

SUBSCRIBERS = {"order-confirmed.v1": ["notifications", "analytics"], "order-noted.v1": ["analytics"]}
TEXT = r'"[^"#<>]*(?:(?:<br/>|#\d+;)[^"#<>]*)*"'
NODE = re.compile(
    rf"\w+(?:\(\[{TEXT}\]\)|\[{TEXT}\]|\{{\{{{TEXT}\}}\}}|>{TEXT}\]|\({TEXT}\)|\[/{TEXT}/\]|\(\[compensated\]\))"
)
EDGE = re.compile(rf"(\w+) (?:-->(?:\|{TEXT}\|)?|-\.->|-\. untracked \.->) (\w+)(?:\(\[completed\]\))?")


def parts(text: str) -> tuple[set[str], list[str]]:
    """The nodes, by id, and the edges; fails where a line is neither."""
    head, *lines = text.splitlines()
    assert head == "flowchart LR"
    nodes, edges = {"completed"}, []
    for line in lines:
        assert line.startswith("    ")
        if NODE.fullmatch(line.strip()):
            nodes.add(re.split(r"\W", line.strip())[0])
        else:
            assert EDGE.fullmatch(line.strip()), line
            edges.append(line.strip())
    return nodes, edges


@pytest.mark.parametrize("saga", [order_saga, parcel_saga], ids=["order", "parcel"])
def test_every_line_is_a_node_or_an_edge_between_nodes(saga: Saga[PlaceOrder]) -> None:
    nodes, edges = parts(mermaid(saga, SUBSCRIBERS))
    ends = {end for edge in edges if (match := EDGE.fullmatch(edge)) for end in match.groups()}
    assert ends == nodes


def test_commands_are_solid_with_their_services_and_their_undo() -> None:
    text = mermaid(order_saga)
    assert 's1["reserve_inventory<br/>inventory"]' in text
    assert 's2{{"ship_order<br/>shipping"}}' in text
    _, edges = parts(text)
    assert edges == [
        'start -->|"ChargePayment"| s0',
        's0 -->|"undo: RefundPayment"| compensated',
        's0 -->|"ReserveInventory"| s1',
        's1 -->|"undo: ReleaseInventory"| s0',
        's1 -->|"ShipOrder"| s2',
        's2 -->|"refused"| s1',
        "s2 --> completed([completed])",
        "completed -.-> f0",
        "compensated -.-> f1",
    ]


def test_facts_are_dotted_to_subscribers_that_are_drawn_once() -> None:
    text = mermaid(parcel_saga, SUBSCRIBERS)
    assert text.count('[/"analytics"/]') == 1
    _, edges = parts(text)
    assert [edge for edge in edges if "untracked" in edge] == [
        "f0 -. untracked .-> n0",
        "f3 -. untracked .-> n1",
        "f3 -. untracked .-> n0",
    ]


@pytest.mark.parametrize("name", ['a"]; click x', "end", "<b>x</b>", "a\nb --> c", "50% #1", "back\\slash", "`md`"])
def test_no_name_breaks_out_of_its_label(name: str) -> None:
    _, edges = parts(mermaid(order_saga, {"order-confirmed.v1": [name]}))
    assert edges[-2:] == ["f0 -. untracked .-> n0", "compensated -.-> f1"]


def test_the_outline_of_the_order() -> None:
    assert outline(order_saga, SUBSCRIBERS) == [
        "saga 'order', version 1, starts with PlaceOrder",
        "commanded, in this order:",
        "  charge_payment: ChargePayment to payment (step), undone by RefundPayment, timeout 30 s,"
        " may be refused with card_declined",
        "  reserve_inventory: ReserveInventory to inventory (step), undone by ReleaseInventory, timeout 30 s,"
        " may be refused with sold_out",
        "  ship_order: ShipOrder to shipping (pivot, from here on only forward), timeout 30 s,"
        " may be refused with no_such_address",
        "event-driven, tracked by nobody:",
        "  OrderConfirmed (when completed): notifications, analytics",
        "  OrderRejected (when compensated): nobody subscribes",
    ]


def test_the_outline_says_when_a_fact_leaves() -> None:
    lines = outline(parcel_saga)
    assert "  print_invoice: PrintInvoice to printing (retriable), timeout 30 s, may be refused with nothing" in lines
    assert lines[6:10] == [
        "  OrderNoted (held until the pivot): nobody subscribes",
        "  OrderAnnounced (early): nobody subscribes",
        "  ParcelOnItsWay (after the pivot): nobody subscribes",
        "  OrderWithdrawn (taking it back): nobody subscribes",
    ]


def test_the_outline_of_a_saga_without_pivot_or_facts() -> None:
    step = Step(charge_payment, to="payment", compensation=refund_payment)
    assert outline(Saga("bare", start=PlaceOrder, steps=[step]))[-1] == "  nothing"
    held = outline(Saga("bare", start=PlaceOrder, steps=[Publish(order_noted), step]), SUBSCRIBERS)
    assert held[-1] == "  OrderNoted (held until the end): analytics"
    assert order_confirmed.__name__ not in "".join(held)

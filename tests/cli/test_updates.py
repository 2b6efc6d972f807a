"""`choros saga update`: what a person asks of a running saga, and what that replies."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import SERVERS, STORE, Choros, choros

__all__ = ["choros"]

SHOP = """
from choros import App, Command, Done, Message, Pivot, Refused, Reply, Saga, Service, Update

class Order(Message):
    order: str
    street: str

class AddressChanged(Reply):
    street: str

class ChangeAddress(Update[AddressChanged]):
    street: str

class Pay(Command[Done]):
    order: str

class Ship(Command[Done]):
    street: str

def ship(order: Order, change: ChangeAddress | None) -> Ship:
    return Ship(street=change.street if change else order.street)

def pay(order: Order) -> Pay:
    return Pay(order=order.order)

def change_address(order: Order, change: ChangeAddress) -> AddressChanged:
    if not change.street:
        raise Refused("no_street")
    return AddressChanged(street=change.street.upper())

def number(order: Order) -> str:
    return order.order

from choros import Step
steps = (Step(pay, to="till", compensation=pay), Pivot(ship, to="carrier"))
app = App("delivery", sagas=[Saga("order", start=Order, key=number, steps=steps, updates=(change_address,))],
          services=[Service("till", commands=(Pay,)), Service("carrier", commands=(Ship,))])
"""


@pytest.fixture
def delivery(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choros:
    """With an order that nobody has paid."""
    (tmp_path / "delivery.py").write_text(SHOP)
    monkeypatch.delitem(sys.modules, "delivery", raising=False)
    order = json.dumps({"order": "o1", "street": "1 Oak Lane"})
    assert choros("saga", "start", "delivery", "order", "-i", order, *SERVERS).err == ""
    return choros


def test_a_person_asks_for_a_change_and_reads_the_reply(delivery: Choros) -> None:
    ask = ("saga", "update", "delivery", "o1", "-i", '{"street": "2 Elm"}', "--by", "Ann", "--reason", "she moves")
    said = delivery(*ask, "--id", "u1", *SERVERS)
    assert (said.code, said.err, said.out) == (0, "", '{"street":"2 ELM"}\n')
    said = delivery(*ask, "--id", "u1", "-o", "json", *SERVERS)
    assert json.loads(said.out)["answer"] == {"street": "2 ELM"}
    assert "accepted (update by Ann: she moves)" in delivery("saga", "show", "delivery", "o1", *STORE).out


def test_a_no_is_a_sentence(delivery: Choros) -> None:
    said = delivery("saga", "update", "delivery", "o1", "-i", '{"street": ""}', *SERVERS)
    assert (said.code, said.err) == (1, "✖ change-address was refused as no_street.\n")
    said = delivery("saga", "update", "delivery", "o1", "-i", "{}", "--update", "change-address", *SERVERS)
    assert (said.code, "ChangeAddress: street: str." in said.err) == (2, True)
    said = delivery("saga", "update", "delivery", "o1", "-i", "{}", "--update", "change", *SERVERS)
    assert said.code == 2
    assert "answers no update 'change'" in said.err


def test_a_program_reads_where_a_saga_stands(delivery: Choros) -> None:
    delivery("saga", "update", "delivery", "o1", "-i", '{"street": "2 Elm"}', *SERVERS)
    lines = delivery("saga", "query", "delivery", "o1", *STORE).out.splitlines()
    assert lines[0].endswith(" running")
    assert lines[1:] == [
        'start: {"order":"o1","street":"1 Oak Lane"}',
        'updated, change-address: {"street":"2 Elm"}',
        "still to come:",
        "  pay (step), under way",
        "  ship (pivot)",
    ]
    said = json.loads(delivery("saga", "query", "delivery", "o1", *STORE, "-o", "json").out)
    assert (said["status"], said["start"]["order"], said["updates"]) == (
        "running", "o1", {"change-address": {"street": "2 Elm"}},
    )  # fmt: skip
    assert said["remaining"][1] == {"step": "ship", "kind": "pivot", "sure": True, "begun": False}
    delivery("saga", "terminate", "delivery", "o1", *SERVERS)
    assert "nothing is still to come" in delivery("saga", "query", "delivery", "o1", *STORE).out

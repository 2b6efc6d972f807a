"""From one declaration to another: which instance may go on, why another may not, and as what it does."""

import pytest

from choros.saga.difference import difference, why_not_moved
from choros.saga.machine.instance import Instance, Leg, NodeState, States

from .shop import order_saga

TEXT = order_saga.fingerprint.text
OK = NodeState(progress="ok", reply="{}")
SENT = NodeState(progress="sent", leg=Leg("do", "{}", 1, 0.0, 30.0))


def instance(**nodes: NodeState) -> Instance:
    return Instance("s1", "{}", States(nodes))


AT_SECOND = instance(charge_payment=OK, reserve_inventory=SENT)


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_what_it_has_not_come_to_may_be_anything() -> None:
    assert why_not_moved(AT_SECOND, TEXT, TEXT) == ""
    assert why_not_moved(AT_SECOND, changed("ship_order: pivot", "send_order: pivot"), TEXT) == ""
    assert why_not_moved(AT_SECOND, changed("to shipping", "to carrier"), TEXT) == ""
    longer = changed("when completed", "wave: retriable\n  do wave() to hand, answered by done\nwhen completed")
    assert why_not_moved(AT_SECOND, longer, TEXT) == ""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("start place-order", "start order", "it begins with: order here, place-order there"),
        ("rules 1", "rules 2", "choros has: rules 2 here, rules 1 there"),
        (
            "reserve_inventory: step\n", "hold_inventory: step\n",
            "it has come as far as reserve_inventory (step; do reserve-inventory(place-order) to inventory, answered by"
            " inventory-reserved; undo release-inventory(place-order, reserve_inventory: inventory-reserved or none),"
            " answered by choros.done), and there stands hold_inventory (step; do",
        ),
        ("when completed: order-confirmed", "when completed: order-done", "closing facts when completed: order-done("),
        ("to payment", "to bank", "it has come as far as charge_payment (step; do"),
    ],
)  # fmt: skip
def test_what_it_has_come_to_must_be_the_same(old: str, new: str, sentence: str) -> None:
    told = why_not_moved(AT_SECOND, changed(old, new), TEXT)
    assert told.startswith(sentence)
    if "closing" in told:
        assert told.endswith(" there") and "order-confirmed(" in told


def test_a_declaration_without_the_step_that_it_has_come_to_is_none_for_it() -> None:
    first = TEXT.index("reserve_inventory: step")
    shorter = TEXT[:first] + TEXT[TEXT.index("when completed") :]
    assert why_not_moved(AT_SECOND, shorter, TEXT).endswith("and there stands nothing () in the other version")


def test_a_difference_is_told_in_words() -> None:
    none = "".join(f"{line}\n" for line in TEXT.splitlines() if not line.startswith("when "))
    assert difference(none, TEXT).startswith("closing facts none here, when completed: ")
    assert difference(TEXT, none).endswith(" here, none in the record")
    empty = "saga order, version 1, rules 1\nstart place-order\n"
    assert difference(TEXT, empty).startswith(
        "3 steps here, 0 in the record: charge_payment, reserve_inventory, ship_order are not in the record"
    )
    four = changed("when completed", "a: step\nb: step\nc: step\nd: step\nwhen completed")
    assert "a, b, c and 1 more are not in the record" in difference(four, TEXT)
    assert (
        difference(changed("start place-order\n", ""), TEXT)
        == "it begins with: nothing here, place-order in the record"
    )
    assert (
        difference(TEXT, changed("start place-order\n", ""))
        == "it begins with: place-order here, nothing in the record"
    )

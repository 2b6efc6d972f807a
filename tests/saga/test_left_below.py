"""A nested saga that leaves something standing: the one around it says so as well, whichever of the two was undone."""

from datetime import timedelta
from typing import Any

from choros.messages import Closed, Failure, LeftStanding, Refusal
from choros.names import ORCHESTRATOR
from choros.runtime.orchestrator.replies import judge
from choros.saga.machine.inputs import Answered, SettleRequested, SkipRequested, TerminateRequested
from choros.saga.nodes import Nested, Pivot, Step
from choros.saga.saga import Saga
from choros.wire.envelope import Envelope
from tests.saga.credit import (
    HELD,
    Held,
    Noted,
    PlaceOrder,
    ReserveCredit,
    Ship,
    credit_closed,
    credit_denied,
    give_credit_back,
    hold_credit,
    note_credit,
    order_of,
    reserve_credit,
    reserved,
    ship,
    strike_note,
)
from tests.saga.family import Family
from tests.saga.shop import TWICE

credit_saga = Saga(
    "credit",
    start=ReserveCredit,
    steps=(
        Step(hold_credit, to="bank", compensation=give_credit_back, undo_retry=TWICE, undo_exhausted="skip"),
        Step(note_credit, to="books", compensation=strike_note),
    ),
    completed=credit_closed,
    compensated=credit_denied,
    result=reserved,
)
order_saga = order_of(HELD, Nested(credit_saga, reserve_credit), Pivot(ship, to="lorries"))
CHILD = "p:credit:1"


def ship_anyhow(order: PlaceOrder) -> Ship:
    return Ship(order=order.order, credit="none")


def below(saga: Saga[PlaceOrder] = order_saga) -> Family:
    """The nested saga has taken its first step."""
    family = Family(saga, credit_saga)
    family.ok(reply=Held())
    family.settle()
    family.ok(CHILD, Held())
    return family


def done_below() -> Family:
    """The pivot of the order is in flight."""
    family = below()
    family.ok(CHILD, Noted())
    family.settle()
    return family


def left(family: Family) -> tuple[list[str], list[str]]:
    return [*family.parent.instance.standing], [*family.child.instance.standing]


def give_up(family: Family) -> None:
    """The undo of its first step fails for good, and is closed."""
    family.fire(CHILD)
    family.fire(CHILD)
    family.ok(CHILD, Closed())
    family.settle()


def test_rule_47_undone_by_the_one_around_it_it_says_what_it_left() -> None:
    family = done_below()
    family.refuse("", "no_lorry")
    family.settle()
    family.ok(CHILD)
    give_up(family)
    family.ok()
    family.settle()
    assert (family.parent.status, left(family)) == ("compensated", (["credit"], ["hold_credit"]))
    assert family.parent.facts == []
    assert family.child.facts == []
    assert family.child.status == "compensated", "it was released all the same"


def test_rule_47_refused_by_itself_it_says_so_too() -> None:
    family = below()
    family.refuse(CHILD, "no_book")
    give_up(family)
    assert family.parent.waiting == ["hold_stock:undo"]
    family.ok()
    family.settle()
    assert (family.parent.status, left(family)) == ("compensated", (["credit"], ["hold_credit"]))
    assert Failure.from_json(family.parent.instance.failure).code == "no_book"
    assert family.parent.facts == []


def test_with_ends_the_saga_goes_on_and_says_so_at_its_end() -> None:
    family = below(order_of(HELD, Nested(credit_saga, reserve_credit, ends=True), Pivot(ship_anyhow, to="lorries")))
    family.refuse(CHILD, "no_book")
    give_up(family)
    assert family.parent.waiting == ["ship_anyhow:do"]
    family.ok()
    family.settle()
    assert (family.parent.status, left(family)) == ("completed", (["credit"], ["hold_credit"]))
    assert family.parent.facts == ["order-done.v1"]


def test_each_is_settled_for_itself() -> None:
    family = below()
    family.refuse(CHILD, "no_book")
    give_up(family)
    family.ok()
    family.settle()
    assert family.child.status == "compensated"
    family.give(CHILD, SettleRequested("s1", "hold_credit", 1))
    assert (family.child.facts, left(family)) == (["credit-denied.v1"], (["credit"], []))
    family.give("", SettleRequested("s2", "credit", 1))
    assert (family.parent.facts, left(family)) == (["order-off.v1"], ([], []))


def test_asked_again_once_that_is_settled_it_was_undone() -> None:
    family = done_below()
    family.refuse("", "no_lorry")
    undo = family.orders[-1]
    family.settle()
    family.ok(CHILD)
    give_up(family)
    family.ok()
    family.settle()
    family.give(CHILD, SettleRequested("s1", "hold_credit", 1))
    assert family.deliver(undo).replies[0].type == "choros.done.v1"


def test_what_a_terminated_one_cannot_say_is_left_standing_by_a_skip() -> None:
    family = done_below()
    family.refuse("", "no_lorry")
    family.settle()
    family.give(CHILD, TerminateRequested("t"))
    family.ok(CHILD, Closed())
    family.settle()
    assert family.parent.instance.state("credit").parked.startswith("credit (undo): orchestrator has forgotten")
    family.give("", SkipRequested("skip", "credit", 1, ""))
    family.ok()
    family.settle()
    assert (family.parent.status, left(family)[0], family.parent.facts) == ("compensated", ["credit"], [])


def test_closed_before_it_is_over_it_is_refused_and_no_close() -> None:
    """Where a person skips it, a close that promises no effect would be a lie."""
    nested = Nested(credit_saga, reserve_credit, ends=True, within=timedelta(minutes=1))
    family = Family(order_of(Pivot(ship_anyhow, to="lorries"), nested), credit_saga)
    family.ok()
    family.settle()
    family.ok(CHILD, Held())
    family.fire("")
    assert family.parent.status == "parked"
    family.give("", SkipRequested("skip", "credit", 1, "{}"))
    family.settle()
    family.ok(CHILD)
    give_up(family)
    assert (family.parent.status, left(family)) == ("completed", (["credit"], ["hold_credit"]))


def test_terminated_it_keeps_what_it_heard_was_left() -> None:
    family = done_below()
    family.refuse("", "no_lorry")
    family.settle()
    family.ok(CHILD)
    family.fire(CHILD)
    family.fire(CHILD)
    family.ok(CHILD, Closed())
    family.give("", TerminateRequested("t"))
    family.settle()
    assert (family.parent.status, left(family)[0]) == ("terminated", ["credit"])


def test_terminated_while_it_is_refused_it_keeps_that_too() -> None:
    family = below()
    family.refuse(CHILD, "no_book")
    family.fire(CHILD)
    family.fire(CHILD)
    family.ok(CHILD, Closed())
    family.give("", TerminateRequested("t"))
    family.settle()
    assert (family.parent.status, left(family)[0]) == ("terminated", ["credit"])


def test_how_it_is_said_on_the_wire() -> None:
    """An older choros reads over what is given with a refusal that it does not know."""
    family = below()
    family.refuse(CHILD, "no_book")
    family.fire(CHILD)
    family.fire(CHILD)
    family.ok(CHILD, Closed())
    [(_, reply)] = family.replies
    assert (reply.type, reply.outcome) == ("choros.failure.v1", "refused")
    assert Refusal.from_json(reply.data).data == {"left_standing": ["hold_credit"]}
    for outcome, kind, data, operation in (
        ("refused", reply.type, reply.data, "do"),
        ("ok", LeftStanding.type_name, LeftStanding(steps=("hold_credit",)).to_json(), "undo"),
    ):
        assert _judged(outcome, kind, data, operation).standing
    assert not _judged("refused", reply.type, Failure(code="no_book").to_json(), "do").standing


def _judged(outcome: Any, kind: str, data: str, operation: str) -> Answered:
    envelope = Envelope(
        id="m1", kind="reply", type=kind, source=f"/choros/shop/{ORCHESTRATOR}", time=0.0, data=data, subject="o1",
        correlation_id="p", causation_id="m0", key=f"p:credit:1:{operation}", saga="order", saga_version=1,
        step="credit", attempt=1, outcome=outcome,
    )  # fmt: skip
    return judge(order_saga, (1,), envelope)

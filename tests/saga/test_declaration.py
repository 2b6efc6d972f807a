# mypy: disable-error-code="empty-body"
"""Every mistake in a declaration is one sentence, raised where it is written."""

import functools
from datetime import timedelta
from typing import Any, Union

import pytest

from choros.errors import DeclarationError
from choros.messages import Command, Fact, Failure, Message, Reply
from choros.saga.machine.instance import Instance
from choros.saga.machine.turn import BuildFailed
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes import Pivot, Publish, Retriable, Step
from choros.saga.parameters import Known, needs_of
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.sources import saga_id_for
from choros.wire.envelope import MAX_BODY
from tests.saga.driving import at_pivot
from tests.saga.shop import (
    ORDER,
    ChargePayment,
    InventoryReserved,
    OrderAnnounced,
    OrderConfirmed,
    OrderNoted,
    PaymentCharged,
    PlaceOrder,
    RefundPayment,
    ShipOrder,
    charge_payment,
    order_announced,
    order_noted,
    order_rejected,
    order_saga,
    order_withdrawn,
    print_invoice,
    refund_payment,
    ship_order,
    ship_parcel,
)

PAY = Step(charge_payment, to="payment", compensation=refund_payment)
SHIP = Pivot(ship_parcel, to="shipping")


def declare(*steps: Any, name: str = "order", start: Any = PlaceOrder, **more: Any) -> Saga[Any]:
    return Saga(name, start=start, steps=steps, **more)


def pay_with(action: Any, **more: Any) -> Saga[Any]:
    return declare(Step(action, to="payment", compensation=refund_payment, **more))


def undo_with(compensation: Any) -> Saga[Any]:
    return declare(Step(charge_payment, to="payment", compensation=compensation))


class MightNot(Command[Reply], refusals=("no",)):
    pass


async def waiting(order: PlaceOrder) -> ChargePayment:
    return charge_payment(order)


def unknown(order: "Elsewhere") -> ChargePayment: ...  # type: ignore[name-defined] # noqa: F821
def no_such(order: "functools.Nothing") -> ChargePayment: ...  # type: ignore[name-defined]
def bare_parameter(order) -> ChargePayment: ...  # type: ignore[no-untyped-def]
def bare_return(order: PlaceOrder): ...  # type: ignore[no-untyped-def]
def by_place(order: PlaceOrder, /) -> ChargePayment: ...
def many(*orders: PlaceOrder) -> ChargePayment: ...
def number(count: int) -> ChargePayment: ...
def choice(order: Union[PlaceOrder, PaymentCharged]) -> ChargePayment: ...  # noqa: UP007
def too_early(reserved: InventoryReserved) -> ChargePayment: ...
def says_so(order: PlaceOrder) -> None: ...
def says_much(order: PlaceOrder) -> ChargePayment | None: ...
def a_fact(order: PlaceOrder) -> OrderNoted: ...
def any_command(order: PlaceOrder) -> Command[PaymentCharged]: ...
def any_fact(order: PlaceOrder) -> Fact: ...
def object_of(order: object) -> ChargePayment: ...
def whatever(order: Any) -> ChargePayment: ...
def might_not(order: PlaceOrder) -> MightNot: ...
def sure_of_it(charged: PaymentCharged) -> RefundPayment: ...
def two_replies(order: PlaceOrder, charged: PaymentCharged) -> ShipOrder: ...
def failed(failure: Failure) -> OrderConfirmed: ...
def failing(failure: Failure) -> ChargePayment: ...
def no_type(order: "5 | None") -> ChargePayment: ...  # type: ignore[valid-type]


class Shipping:
    """Looks like a service, which this layer does not know."""

    name = "shipping"

    def __repr__(self) -> str:
        return f"Service({self.name!r})"


MISTAKES: list[tuple[Any, str]] = [
    (lambda: declare(PAY, name="Order!"), "'Order!' is no name for a saga."),
    (lambda: declare(PAY, name="a" * 61), f"'{'a' * 61}' is no name for a saga."),
    (lambda: declare(PAY, version=0), "saga 'order': version 0 is less than 1."),
    (lambda: declare(PAY, start=int), "saga 'order': start=<class 'int'> is no message type."),
    (lambda: declare(PAY, start="PlaceOrder"), "saga 'order': start='PlaceOrder' is no message type."),
    (lambda: declare(PAY, start=Message), f"saga 'order': start={Message!r} is no message type."),
    (lambda: declare(PAY, start=Command), f"saga 'order': start={Command!r} is no message type."),
    (lambda: pay_with(any_command), "any_command returns Command[PaymentCharged], which has no name on the wire."),
    (lambda: declare(PAY, SHIP, completed=any_fact), "any_fact returns Fact, which has no name on the wire."),
    (lambda: pay_with(object_of), "object_of needs object for 'order', which is neither PlaceOrder nor a reply."),
    (lambda: pay_with(whatever), "whatever needs Any for 'order', which is neither PlaceOrder nor a reply."),
    (lambda: declare(), "saga 'order' commands nobody."),
    (lambda: declare(Publish(order_noted)), "saga 'order' commands nobody."),
    (lambda: declare(PAY, "ship"), "saga 'order': 'ship' is no step."),
    (lambda: pay_with(lambda order: order), "saga 'order': '<lambda>' is no name for a step."),
    (lambda: pay_with(charge_payment, name="Pay Now"), "saga 'order': 'Pay Now' is no name for a step."),
    (lambda: declare(PAY, PAY), "saga 'order': two steps are called charge_payment."),
    (
        lambda: declare(SHIP, Pivot(ship_parcel, to="shipping", name="again")),
        "saga 'order' has two pivots, ship_parcel and again.",
    ),
    (lambda: declare(SHIP, PAY), "saga 'order': charge_payment can be undone, but stands after the pivot."),
    (
        lambda: declare(Step(charge_payment, to="payment")),
        "saga 'order': charge_payment has no compensation, so it would stay when the saga is undone.",
    ),
    (
        lambda: declare(Retriable(print_invoice, to="printing")),
        "saga 'order': print_invoice is Retriable, so it must stand after the pivot, but there is none.",
    ),
    (
        lambda: declare(Retriable(print_invoice, to="printing"), SHIP),
        "saga 'order': print_invoice is Retriable, so it must stand after the pivot, but it comes later.",
    ),
    (
        lambda: declare(PAY, Publish(order_announced, early=True)),
        "saga 'order': order_announced is published early, but nothing takes it back when the saga is undone.",
    ),
    (
        lambda: declare(
            PAY, Publish(order_announced, early=True, retraction=order_withdrawn), compensated=order_withdrawn
        ),
        "saga 'order': OrderWithdrawn takes back what order_announced published, and is published again at the end.",
    ),
    (
        lambda: declare(SHIP, Retriable(charge_payment, to="payment")),
        "saga 'order': charge_payment stands after the pivot, but ChargePayment may be refused (card_declined).",
    ),
    (
        lambda: declare(Pivot(ship_parcel, to="Shipping")),
        "saga 'order': ship_parcel goes to 'Shipping', which is no name for a service.",
    ),
    (
        lambda: declare(Pivot(ship_parcel, to="dead")),
        "saga 'order': ship_parcel goes to 'dead', a name that choros keeps for itself.",
    ),
    (
        lambda: declare(Pivot(ship_parcel, to="shipping", timeout=timedelta(0))),
        "saga 'order': ship_parcel has no time to answer.",
    ),
    (
        lambda: pay_with(charge_payment, taken_within=timedelta(0)),
        "saga 'order': charge_payment could never be taken.",
    ),
    (
        lambda: pay_with(charge_payment, taken_within=timedelta(minutes=15)),
        "saga 'order': charge_payment: taken_within=0:15:00 bounds nothing: after 0:15:00 nobody wants it any more.",
    ),
    (
        lambda: pay_with(charge_payment, taken_within=3),
        "saga 'order': charge_payment: taken_within=3 is no timedelta.",
    ),
    (lambda: undo_with(might_not), "saga 'order': MightNot undoes charge_payment, but may be refused (no)."),
    (lambda: undo_with(5), "saga 'order': 5 is no function."),
    (lambda: pay_with(ChargePayment, name="pay"), f"saga 'order': {ChargePayment!r} is no function."),
    (
        lambda: pay_with(says_so),
        "saga 'order': says_so returns None, not a Command.",
    ),
    (lambda: pay_with(a_fact), "saga 'order': a_fact returns OrderNoted, not a Command."),
    (lambda: declare(PAY, completed=charge_payment), "saga 'order': charge_payment returns ChargePayment, not a Fact."),
    (lambda: declare(PAY, Publish(says_much)), "says_much returns ChargePayment, a Command."),  # type: ignore[arg-type]
    (lambda: pay_with(waiting), "saga 'order': waiting is async, but it only builds a message."),
    (lambda: pay_with(unknown), "saga 'order': unknown is annotated with Elsewhere, which is not known."),
    (lambda: pay_with(no_such), "saga 'order': no_such is annotated with Nothing, which is not known."),
    (lambda: pay_with(bare_parameter), "saga 'order': bare_parameter does not say what its parameter 'order' is."),
    (lambda: pay_with(bare_return), "saga 'order': bare_return does not say what it returns."),
    (
        lambda: pay_with(by_place),
        "saga 'order': by_place takes 'order' by its place only, and it is given by name.",
    ),
    (
        lambda: pay_with(many),
        "which no message can fill.",
    ),
    (
        lambda: pay_with(number),
        "saga 'order': number needs int for 'count', which is neither PlaceOrder nor a reply.",
    ),
    (lambda: pay_with(choice), "for 'order', which is neither PlaceOrder nor a reply."),
    (
        lambda: declare(Pivot(ship_order, to="shipping")),
        "saga 'order': ship_order needs InventoryReserved, which no earlier step replies with.",
    ),
    (
        lambda: pay_with(too_early),
        "saga 'order': too_early needs InventoryReserved, which no earlier step replies with.",
    ),
    (
        lambda: undo_with(sure_of_it),
        "saga 'order': sure_of_it needs PaymentCharged, which may not be known by then: charge_payment may be in doubt,"
        " as after a timeout.",
    ),
    (
        lambda: declare(
            PAY,
            Step(charge_payment, to="payment", compensation=refund_payment, name="tip"),
            Pivot(two_replies, to="shipping"),
        ),
        "saga 'order': two_replies needs PaymentCharged, which several steps answer with.",
    ),
    (
        lambda: declare(SHIP, completed=failed),
        "saga 'order': failed takes a Failure, but a completed saga has no failure.",
    ),
    (lambda: pay_with(failing), "saga 'order': failing takes a Failure, but only the facts of compensated=... can"),
    (lambda: Saga("order", start=PlaceOrder, steps=SHIP), "saga 'order': steps=Pivot(ship_parcel) is no sequence."),  # type: ignore[arg-type]
    (lambda: Saga("order", start=PlaceOrder, steps="ship"), "saga 'order': steps='ship' is no sequence."),  # type: ignore[arg-type]
    (lambda: declare(charge_payment), "saga 'order': charge_payment is no step."),
    (lambda: Saga(5, start=PlaceOrder, steps=(PAY,)), "5 is no name for a saga."),  # type: ignore[arg-type]
    (lambda: declare(PAY, version="2"), "saga 'order': version '2' is no whole number."),
    (lambda: declare(PAY, key="order_id"), "saga 'order': key='order_id' is no function."),
    (lambda: declare(PAY, key=5), "saga 'order': key=5 is no function."),
    (lambda: declare(PAY, deadline=5), "saga 'order': deadline=5 is no timedelta."),
    (lambda: declare(PAY, deadline="soon"), "saga 'order': deadline='soon' is no timedelta."),
    (lambda: pay_with(charge_payment, name=5), "saga 'order': 5 is no name for a step."),
    (lambda: pay_with(charge_payment, timeout=3), "saga 'order': charge_payment: timeout=3 is no timedelta."),
    (lambda: pay_with(charge_payment, retry=3), "saga 'order': charge_payment: retry=3 is no RetryPolicy."),
    (lambda: pay_with(charge_payment, undo_retry=3), "saga 'order': charge_payment: undo_retry=3 is no RetryPolicy."),
    (
        lambda: declare(Pivot(ship_parcel, to=Shipping())),  # type: ignore[arg-type]
        "saga 'order': ship_parcel goes to Service('shipping'), which is not the name of a service.",
    ),
    (
        lambda: declare(Pivot(ship_parcel, to=5)),  # type: ignore[arg-type]
        "saga 'order': ship_parcel goes to 5, which is not the name of a service.",
    ),
    (
        lambda: declare(PAY, Publish(charge_payment)),  # type: ignore[arg-type]
        "saga 'order': Publish takes a function that returns a Fact, but charge_payment returns ChargePayment, a Comm",
    ),
    (lambda: declare(PAY, Publish(OrderConfirmed)), f"saga 'order': {OrderConfirmed!r} is no function."),
    (lambda: declare(PAY, completed=5), "saga 'order': 5 is no function."),
    (lambda: declare(PAY, completed="noted"), "saga 'order': 'noted' is no function."),
    (lambda: declare(PAY, completed=Publish(order_noted)), "saga 'order': Publish(order_noted) is no function."),
    (lambda: declare(PAY, "ship" * 30), f"saga 'order': '{'ship' * 19}... is no step."),
    (lambda: pay_with(no_type), "saga 'order': no_type has an annotation that is no type."),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES, ids=[sentence[:60] for _, sentence in MISTAKES])
def test_a_mistake_is_a_sentence(mistake: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        mistake()
    assert sentence in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert "\n" not in str(caught.value)
    assert not caught.value.hint or str(caught.value).endswith(f" Try: {caught.value.hint}")


def test_rule_12_a_saga_has_version_1_from_the_start() -> None:
    assert (order_saga.version, repr(order_saga)) == (1, "Saga('order', version=1)")


def test_rule_5_the_start_key_makes_the_id() -> None:
    assert order_saga.key is not None
    assert order_saga.key(ORDER) == "o1"
    assert saga_id_for("order", "o1") == saga_id_for("order", "o1") != saga_id_for("parcel", "o1")


def test_several_closing_facts() -> None:
    saga = declare(PAY, completed=[order_noted, order_announced], compensated=(order_rejected,))
    assert [builder.builds for builder in saga.outline.completed] == [OrderNoted, OrderAnnounced]


def test_a_step_is_found_by_its_name() -> None:
    leaf = order_saga.outline.commanded("reserve_inventory")
    assert leaf is not None
    assert leaf.undo is not None
    assert leaf.answers("do") == [InventoryReserved]
    assert order_saga.outline.commanded("nobody") is None
    assert [leaf.undo is None for leaf in order_saga.outline.commands] == [False, False, True]


# --- what fills a parameter -------------------------------------------------------------------------------------------

KNOWN = Known("order", PlaceOrder, [("pay", PaymentCharged), ("tip", PaymentCharged), ("hold", InventoryReserved)])


def by_name(tip: PaymentCharged, order: PlaceOrder, pay: PaymentCharged) -> OrderConfirmed: ...
def by_type(anything: InventoryReserved, *, order: PlaceOrder | None) -> OrderConfirmed: ...
def perhaps(hold: InventoryReserved | None, failure: Failure) -> OrderConfirmed: ...


def test_a_parameter_is_filled_by_type_and_by_step_name_where_types_are_shared() -> None:
    assert [(need.source, need.step) for need in needs_of(by_name, KNOWN)] == [
        ("reply", "tip"),
        ("start", ""),
        ("reply", "pay"),
    ]
    assert [(need.source, need.step) for need in needs_of(by_type, KNOWN)] == [("reply", "hold"), ("start", "")]


def test_what_may_be_known_is_optional_and_a_failure_only_where_there_is_one() -> None:
    known = Known("order", PlaceOrder, (), KNOWN.replies, failure=True)
    assert [(need.source, need.optional) for need in needs_of(perhaps, known)] == [("reply", True), ("failure", False)]


def test_a_compensation_may_know_its_own_reply_and_another_of_the_same_type() -> None:
    def undo(pay: PaymentCharged, tip: PaymentCharged | None) -> RefundPayment: ...

    known = Known("order", PlaceOrder, KNOWN.replies[:1], [KNOWN.replies[1]])
    assert [(need.step, need.optional) for need in needs_of(undo, known)] == [("pay", False), ("tip", True)]


def test_messages_reach_the_parameters_that_name_them() -> None:
    run = at_pivot()
    assert ShipOrder.from_json(run.sent.data) == ShipOrder(order_id="o1", reservation_id="r1")


def test_a_message_that_no_broker_would_take_is_not_built() -> None:
    def verbose(order: PlaceOrder) -> ChargePayment:
        return ChargePayment(order_id=order.order_id * MAX_BODY, amount=1)

    (action, *_) = pay_with(verbose).outline.commands[0].builders
    turn = SagaWalk(order_saga.tree, Instance("s1", ORDER.to_json()), 0.0)
    with pytest.raises(BuildFailed, match=f"verbose built a message that has more than {MAX_BODY} bytes"):
        turn.made(action, "charge_payment")


# --- the retry policy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial": timedelta(0)},
        {"initial": timedelta(seconds=-1)},
        {"max": timedelta(milliseconds=1)},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"factor": 1e300},
    ],
    ids=str,
)
def test_a_policy_must_grow(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"does not grow\. Try: use 0 < initial <= max"):
        RetryPolicy(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"jitter": -0.1}, {"jitter": 1.1}, {"jitter": float("nan")}, {"total": timedelta(0)}, {"attempts": 0}],
    ids=str,
)
def test_a_policy_has_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="RetryPolicy needs 0 <= jitter <= 1, total > 0 and attempts >= 1"):
        RetryPolicy(**wrong)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"initial": 0.2}, "initial=0.2 is no timedelta. Try: write initial=timedelta(seconds=0.2)."),
        ({"max": 60}, "max=60 is no timedelta. Try: write max=timedelta(seconds=60)."),
        ({"total": None}, "total=None is no timedelta. Try: write total=timedelta(seconds=30)."),
        ({"factor": "2"}, "factor='2' is no number. Try: write factor=1, for example."),
        ({"attempts": 1.5}, "attempts=1.5 is no number. Try: write attempts=1, for example."),
        ({"non_retryable": "TypeError"}, "non_retryable='TypeError' is no tuple of names."),
        ({"non_retryable": (TypeError,)}, "is no tuple of names. Try: write non_retryable=('ValueError',)."),
        ({"exhausted": "foo"}, "exhausted='foo' means nothing. Try: write 'compensate' or 'park'."),
    ],
    ids=str,
)
def test_a_policy_is_made_of_what_it_says(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        RetryPolicy(**wrong)
    assert str(caught.value).startswith("RetryPolicy: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda: Saga("order", start=PlaceOrder, steps=SHIP), "write steps=(...,), with a comma, or [...]."),  # type: ignore[arg-type]
        (lambda: declare(charge_payment), "wrap the function: Step(charge_payment, to='...', compensation=...)."),
        (lambda: declare(Pivot(ship_parcel, to=Shipping())), "write the name itself: to='shipping'."),  # type: ignore[arg-type]
        (lambda: pay_with(charge_payment, timeout=3), "write timeout=timedelta(seconds=3)."),
        (lambda: declare(PAY, key="order_id"), "write key=lambda start: start.order_id."),
    ],
)
def test_a_hint_can_be_copied(mistake: Any, hint: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        mistake()
    assert caught.value.hint == hint


def test_delays_double_up_to_the_most() -> None:
    policy = RetryPolicy(jitter=0)
    assert [policy.delay(attempt, "k") for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_delays_stay_finite_however_many_attempts() -> None:
    assert RetryPolicy(jitter=0, factor=1000).delay(10**9, "k") == 60


def test_delays_that_grow_slowly_grow_up_to_the_most_too() -> None:
    policy = RetryPolicy(jitter=0, factor=1.01)
    assert policy.delay(66, "k") == pytest.approx(1.01**65)
    assert (policy.delay(412, "k") < 60, policy.delay(413, "k")) == (True, 60)


def test_jitter_shortens_a_delay_by_its_share_and_can_be_computed_again() -> None:
    policy = RetryPolicy(jitter=0.5, initial=timedelta(seconds=10))
    delays = {policy.delay(1, f"key-{number}") for number in range(200)}
    assert 5 <= min(delays) < 6
    assert 9 < max(delays) <= 10
    assert len(delays) > 150
    assert policy.delay(1, "key-1") == policy.delay(1, "key-1")


def test_attempts_time_and_codes_bound_the_retries() -> None:
    policy = RetryPolicy(attempts=3, total=timedelta(seconds=10), non_retryable=("TypeError",))
    assert policy.allows(2, 0, 9.9)
    assert not policy.allows(3, 0, 1)
    assert not policy.allows(1, 0, 10)
    assert not policy.allows(1, 0, 1, "TypeError")
    assert RetryPolicy().allows(10**6, 0, 899)

"""Every word that a newcomer reads about a mistake: sentence and hint, as `mistakes.txt` has them.

After a change of words, or a new mistake: `python -m tests.saga.test_mistakes`, and read what it changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Command, Failure, Message
from choros.saga.checks import shown
from choros.saga.nodes import Pivot, Publish, Retriable, Scope, Step, When
from choros.saga.parameters import Known, Need, needs_of
from choros.saga.policy import RetryPolicy
from tests.saga import (
    loan,
    test_choices,
    test_each,
    test_existing,
    test_lock,
    test_nested,
    test_race,
    test_repeat,
    test_sleep,
    test_update,
    test_wait,
    test_when,
)
from tests.saga.credit import order_of
from tests.saga.parcels import saga_of as saga_of_lines
from tests.saga.refill import saga_of as saga_of_shelves
from tests.saga.shop import (
    InventoryReserved,
    OrderAnnounced,
    PaymentCharged,
    PlaceOrder,
    ShipOrder,
    charge_payment,
    order_noted,
    refund_payment,
)
from tests.saga.test_declaration import MISTAKES, PAY, SHIP, declare, pay_with, undo_with

SECOND = timedelta(seconds=1)
WORDS = Path(__file__).with_name("mistakes.txt")


class Hesitates(Command[PaymentCharged], refusals=("not_now", "not_ever")):
    pass


def hesitate(order: PlaceOrder) -> Hesitates: ...  # type: ignore[empty-body]
def of_any_kind(order: PlaceOrder) -> list[int]: ...  # type: ignore[empty-body]
async def announce(order: PlaceOrder) -> OrderAnnounced: ...  # type: ignore[empty-body]
def either(order: PaymentCharged | InventoryReserved | None) -> ShipOrder: ...  # type: ignore[empty-body]


MORE: list[Any] = [
    lambda: declare(PAY, key="order id"),
    lambda: declare(PAY, version="x" * 78),
    lambda: declare(PAY, version="x" * 79),
    lambda: declare(Pivot(order_noted, to="shipping")),  # type: ignore[arg-type]
    lambda: declare(Pivot("ship", to="shipping")),  # type: ignore[arg-type]
    lambda: declare(PAY, Publish("noted")),  # type: ignore[arg-type]
    lambda: declare(PAY, Publish(announce)),  # type: ignore[arg-type]
    lambda: declare(PAY, Publish(order_noted, early=True, retraction=announce)),  # type: ignore[arg-type]
    lambda: declare(PAY, compensated=announce),
    lambda: declare(PAY, completed=of_any_kind),
    lambda: declare(SHIP, Retriable(hesitate, to="payment")),
    lambda: declare(Pivot(either, to="shipping")),
    lambda: undo_with(hesitate),
    lambda: undo_with("refund"),
    lambda: pay_with(partial(charge_payment)),
    lambda: declare(Step(lambda order: order, to="payment", compensation=refund_payment, name="charge")),
    lambda: declare(Scope(Step(charge_payment, to="payment", compensation=lambda o: o), otherwise=PAY)),
    lambda: declare(When(lambda order: True, then=PAY)),
    lambda: declare(PAY, Publish(lambda: order_noted)),  # type: ignore[arg-type, return-value]
    lambda: declare(PAY, completed=lambda order: order),
    lambda: RetryPolicy(jitter="some"),  # type: ignore[arg-type]
    lambda: RetryPolicy(attempts=0),
    lambda: RetryPolicy(factor=1001),
    lambda: RetryPolicy(max=timedelta(seconds=0.5)),
]


def of_nodes() -> Iterator[Callable[[], object]]:
    """What each kind of node refuses, as it is tried beside that."""
    beside = (test_choices, test_when, test_race)
    yield from (mistake for module in beside for mistake, _ in module.MISTAKES)
    yield from (mistake for mistake, _ in test_when.MISTAKES_BESIDE)
    yield from (partial(declare, *steps) for steps, _ in test_existing.MISTAKES)
    yield from (partial(_declared, partial(declare, PAY), step) for step, _ in test_sleep.MISTAKES)
    yield from (partial(loan.make_loan, loan.SET_ASIDE, wait, loan.PAY_OUT) for wait, _ in test_wait.MISTAKES)
    yield from test_lock.MISTAKES.values()
    yield from (partial(_ordered, steps) for steps, _ in test_nested.MISTAKES)
    yield from (partial(_declared, saga_of_lines, steps) for steps, _ in test_each.MISTAKES.values())
    yield from (partial(_declared, saga_of_shelves, step) for step, _ in test_repeat.MISTAKES.values())


def _ordered(steps: Callable[[], Sequence[object]]) -> None:
    order_of(*steps())


def _declared(saga_of: Callable[..., object], written: Callable[[], Any]) -> None:
    steps = written()
    saga_of(*(steps if isinstance(steps, tuple) else (steps,)))


def words() -> Iterator[str]:
    for mistake in (*(mistake for mistake, _ in MISTAKES), *MORE, *of_nodes(), *test_update.MISTAKES):
        with pytest.raises(DeclarationError) as caught:
            mistake()
        yield re.sub("0x[0-9a-f]+", "0x", str(caught.value))


def test_every_mistake_is_told_in_these_words() -> None:
    assert list(words()) == WORDS.read_text().splitlines()


@pytest.mark.parametrize(
    "fits",
    [{"initial": SECOND, "max": SECOND}, {"factor": 1}, {"factor": 1000}, {"jitter": 0}, {"jitter": 1}],
    ids=str,
)
def test_the_bounds_of_a_policy_are_allowed(fits: dict[str, Any]) -> None:
    assert RetryPolicy(**fits).allows(1, 0, 0.5)


def test_a_policy_without_a_code_asks_for_none() -> None:
    assert not RetryPolicy(non_retryable=("",)).allows(1, 0, 1)


def test_two_steps_may_stand_before_the_pivot_and_a_fact_anywhere() -> None:
    saga = declare(PAY, Publish(order_noted), Step(charge_payment, "payment", refund_payment, name="tip"), SHIP)
    assert saga.outline.paths == ["charge_payment", "order_noted", "tip", "ship_parcel"]


def test_a_need_says_which_message_fills_it() -> None:
    def take(order: PlaceOrder, charged: PaymentCharged, held: InventoryReserved | None, why: Failure) -> Message: ...  # type: ignore[empty-body]

    known = Known("order", PlaceOrder, [("pay", PaymentCharged)], [("hold", InventoryReserved)], failure=True)
    assert needs_of(take, known) == (
        Need("order", "start", PlaceOrder, "", False),
        Need("charged", "reply", PaymentCharged, "pay", False),
        Need("held", "reply", InventoryReserved, "hold", True),
        Need("why", "failure", Failure, "", False),
    )


def test_a_value_is_shown_whole_up_to_80_characters() -> None:
    assert shown("x" * 78) == repr("x" * 78)
    assert shown("x" * 79) == repr("x" * 79)[:77] + "..."


if __name__ == "__main__":
    WORDS.write_text("".join(f"{line}\n" for line in words()))

"""A step that its service finishes later: waited for as long as its bound says, asked after once, then given up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros import (
    App,
    Command,
    DeclarationError,
    Done,
    Failure,
    MemoryTransaction,
    Message,
    Pivot,
    Reply,
    RetryPolicy,
    Saga,
    Service,
    Step,
)
from choros.app.later import Later
from choros.messages import UNFINISHED
from choros.saga.diagram import outline
from choros.saga.machine.inputs import TimerFired
from choros.testing import SagaTest
from tests.saga.driving import Run

DAY = timedelta(days=1)
USUAL = RetryPolicy()


class Order(Message):
    order_id: str


class Paid(Reply):
    payment_id: str


class Charge(Command[Paid], refusals=("declined",)):
    order_id: str


class Refund(Command[Done]):
    order_id: str
    payment_id: str | None


class Ship(Command[Done]):
    order_id: str


def charge(order: Order) -> Charge:
    return Charge(order_id=order.order_id)


def refund(order: Order, paid: Paid | None) -> Refund:
    return Refund(order_id=order.order_id, payment_id=paid.payment_id if paid else None)


def ship(order: Order) -> Ship:
    return Ship(order_id=order.order_id)


def saga(*, within: timedelta | None = 3 * DAY, retry: RetryPolicy = USUAL) -> Saga[Order]:
    step = Step(charge, to="payment", compensation=refund, finished_within=within, retry=retry)
    pivot = Pivot(ship, to="shipping", finished_within=within)
    return Saga("order", start=Order, key=lambda order: order.order_id, steps=(step, pivot))


def begun(**more: object) -> SagaTest:
    test = SagaTest(saga(**more))  # type: ignore[arg-type] # by name
    test.start(Order(order_id="o1"))
    return test


def waiting() -> Run:
    """A charge that was taken, to be finished later."""
    run = Run(saga(), start=Order(order_id="o1"))
    run.fail(UNFINISHED)
    return run


def to_its_bound(run: Run) -> None:
    """Each question on the way is asked, and not answered; the last one too, but by whoever calls this."""
    while run.leg.unfinished:
        run.fire()


def test_it_is_waited_for_while_it_is_finished_outside() -> None:
    test = begun()
    charged = test.expect_command(Charge)
    charged.finish_later()
    test.advance(2 * DAY)
    test.expect_nothing()
    charged.reply(Paid(payment_id="p1"))
    test.expect_command(Ship).reply()
    assert test.status == "completed"


def test_it_is_noted_once_however_often_it_is_said() -> None:
    run = waiting()
    (noted,) = run.last.events
    said = ("unfinished", "charge", "do", 1, 3 * DAY.total_seconds())
    assert (noted.kind, noted.step, noted.operation, noted.attempt, noted.seconds) == said
    assert (run.fail(UNFINISHED).events, run.leg.unfinished) == ((), True)


def test_refused_outside_it_is_over() -> None:
    test = begun()
    charged = test.expect_command(Charge)
    charged.finish_later()
    test.advance(DAY)
    charged.refuse("declined")
    assert test.status == "compensated"


def test_past_its_bound_it_is_asked_once_more_and_then_in_doubt() -> None:
    test = begun()
    charged = test.expect_command(Charge)
    charged.finish_later()
    charged.time_out()
    again = test.expect_command(Charge)
    assert (again.key, again.attempt) == (charged.key, 2)
    again.finish_later()
    test.expect_compensation(Refund(order_id="o1", payment_id=None)).reply()
    assert Failure.from_json(test.instance.failure).kind == "in_doubt"
    assert Failure.from_json(test.instance.failure).code == "unfinished"


def test_the_last_question_may_find_the_answer_that_was_lost() -> None:
    test = begun()
    charged = test.expect_command(Charge)
    charged.finish_later()
    charged.time_out()
    test.expect_command(Charge).reply(Paid(payment_id="p1"))
    test.expect_command(Ship).reply()
    assert test.status == "completed"


def test_the_last_question_is_asked_as_often_as_a_first_one() -> None:
    test = begun(retry=RetryPolicy(attempts=9, total=timedelta(minutes=1)))
    charged = test.expect_command(Charge)
    charged.finish_later()
    charged.time_out()
    test.expect_command(Charge).time_out()
    test.expect_command(Charge).time_out()
    test.expect_compensation(Refund).reply()
    assert Failure.from_json(test.instance.failure).code == "timeout"


def test_failed_outside_it_is_tried_again_though_it_took_long() -> None:
    test = begun(retry=RetryPolicy(total=timedelta(minutes=1)))
    charged = test.expect_command(Charge)
    charged.finish_later()
    test.advance(DAY)
    charged.fail("GatewayDown")
    test.advance(timedelta(seconds=2))
    again = test.expect_command(Charge)
    again.finish_later()
    test.advance(timedelta(days=1, hours=23, minutes=59))
    test.expect_nothing()
    test.advance(timedelta(minutes=1))  # three days since it was taken first: that is the bound of all of it
    test.expect_command(Charge).reply(Paid(payment_id="p1"))
    test.expect_command(Ship)


def test_failed_and_tried_again_it_has_no_more_time_than_its_bound() -> None:
    run = waiting()
    run.fail("GatewayDown")
    run.give(TimerFired(), at=run.now + 4 * DAY.total_seconds())
    assert (run.sent.key.operation, run.sent.attempt) == ("do", 2)
    run.fail(UNFINISHED)
    assert run.sent.key.operation == "undo"


def test_a_pivot_that_takes_too_long_waits_for_a_person_who_may_give_it_more_time() -> None:
    run = waiting()
    run.ok(Paid(payment_id="p1"))
    run.fail(UNFINISHED)
    to_its_bound(run)
    run.fail(UNFINISHED)
    assert (run.status, run.leg.unfinished) == ("parked", False)
    run.retry("ship")
    run.fail(UNFINISHED)
    assert (run.status, run.leg.finish_by) == ("running", run.now + 3 * DAY.total_seconds())
    run.ok()
    assert run.status == "completed"


def test_cancelled_meanwhile_it_is_undone_and_whoever_finishes_it_is_too_late() -> None:
    run = waiting()
    charged = run.sent
    run.cancel()
    assert run.sent.data == Refund(order_id="o1", payment_id=None).to_json()
    run.ok(Paid(payment_id="p1"), charged)
    assert run.kinds == ["late_reply"]
    run.ok()
    assert run.status == "compensated"


def test_paused_at_its_bound_it_is_asked_after_behind_the_pause() -> None:
    run = waiting()
    bound = run.leg.finish_by
    run.pause()
    while run.now < bound + 60.0:  # type: ignore[operator] # it has one
        run.fire()
    assert len(run.sends) == 1
    run.resume()
    run.time_out()
    assert (run.sent.key.operation, run.sent.attempt, run.kinds) == ("do", 2, ["sent"])


def test_without_a_bound_later_is_no_answer_but_a_failure() -> None:
    test = begun(within=None)
    charged = test.expect_command(Charge)
    with pytest.raises(AssertionError, match="no finished_within"):
        charged.finish_later()
    charged.fail("unfinished")
    test.advance(timedelta(seconds=2))
    assert test.expect_command(Charge).attempt == 2


def test_the_outline_says_how_long_it_may_take() -> None:
    assert "timeout 30 s, finished from outside within 3 days" in "\n".join(outline(saga()))


@pytest.mark.parametrize("within", [timedelta(0), 3])
def test_a_bound_is_a_time(within: object) -> None:
    with pytest.raises(DeclarationError, match="finished_within"):
        saga(within=within)  # type: ignore[arg-type] # that is the mistake


def services(*, undo: bool = False) -> list[Service]:
    payment, shipping = Service("payment", commands=[Charge, Refund]), Service("shipping", commands=[Ship])

    kind: Any = Refund if undo else Charge

    @payment.handles(kind)
    async def later(command: Charge | Refund, db: MemoryTransaction) -> Done | Paid | Later:
        return Later()

    return [payment, shipping]


def test_what_may_be_finished_later_is_checked_against_its_saga() -> None:
    App("shop", sagas=[saga()], services=services())
    with pytest.raises(DeclarationError, match="'payment' may finish later, and no finished_within bounds that"):
        App("shop", sagas=[saga(within=None)], services=services())
    with pytest.raises(DeclarationError, match="may finish later, as an undo"):
        App("shop", sagas=[saga()], services=services(undo=True))

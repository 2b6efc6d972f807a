"""What is finished later is asked after, ever more seldom, until its bound: its answer may have been lost."""

from datetime import timedelta
from itertools import pairwise

import pytest

from choros import RetryPolicy, Saga, Step
from choros.messages import UNFINISHED, Failure
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import Leg
from choros.saga.machine.machine import begin, decide
from choros.testing import SagaTest
from tests.saga.driving import START, Run
from tests.saga.test_finished_later import Charge, Order, Paid, Ship, begun, charge, refund, saga, waiting

MINUTE, DAY = 60.0, 86_400.0
NO_SPREAD = 0.9
"""Of the time until a question: the jitter of a tenth makes it come earlier, never later."""


def asked(run: Run) -> float:
    """When the next question is sent."""
    run.fire()
    assert (run.sent.key.operation, run.sent.attempt) == ("do", 1)
    return run.now


def test_it_is_asked_after_a_minute_and_then_ever_more_seldom_but_each_day() -> None:
    run = Run(saga(within=timedelta(days=90)), start=Order(order_id="o1"))
    run.fail(UNFINISHED)
    times = [START, *(asked(run) for _ in range(40))]
    waits = [after - before for before, after in pairwise(times)]
    for number, wait in enumerate(waits):
        full = min(MINUTE * 2**number, DAY)
        assert NO_SPREAD * full <= wait <= full, number
    assert len({round(wait / min(MINUTE * 2**number, DAY), 6) for number, wait in enumerate(waits)}) > 30


def test_sagas_that_began_together_do_not_ask_together() -> None:
    tree, waits = saga().tree, []
    for saga_id in ("s1", "s2"):
        began = begin(tree, saga_id, Order(order_id="o1").to_json(), START, cause="start")
        not_yet = Answered("reply", began.sends[0].key, 1, "failed", Failure(code=UNFINISHED).to_json(), UNFINISHED)
        waits.append(decide(tree, began.instance, [not_yet], START).instance.wake_at)
    assert len({*waits}) == 2


@pytest.mark.parametrize(("days", "most"), [(3, 17), (365, 420)])
def test_nobody_is_flooded(days: int, most: int) -> None:
    run = Run(saga(within=timedelta(days=days)), start=Order(order_id="o1"))
    run.fail(UNFINISHED)
    while run.leg.unfinished:
        run.fire()
        run.give(run.answer("failed", Paid(payment_id="?"), UNFINISHED))
    sent = [one for one in run.sends if one.key.operation == "do"]
    assert days + 9 < len(sent) < most
    assert run.now == START + days * DAY


def test_a_question_is_the_same_attempt_once_more_and_what_it_is_told_moves_nothing() -> None:
    run = waiting()
    first, deadline = run.sent, run.instance.state("charge").not_after
    run.fire()
    assert (run.sent.key, run.sent.attempt, run.sent.data) == (first.key, 1, first.data)
    assert run.kinds == ["sent"]
    assert run.instance.state("charge").not_after == run.sent.not_after >= deadline  # type: ignore[operator] # it has one
    before = run.instance
    assert (run.fail(UNFINISHED).events, run.instance) == ((), before)


def test_a_question_finds_the_answer_that_was_lost() -> None:
    run = waiting()
    run.fire()
    run.ok(Paid(payment_id="p1"))
    assert (run.sent.to, run.now < START + 61) == ("shipping", True)


def test_a_question_finds_that_it_failed_and_the_policy_has_all_its_attempts_yet() -> None:
    run = Run(saga(retry=RetryPolicy(attempts=2, total=timedelta(minutes=1))), start=Order(order_id="o1"))
    run.fail(UNFINISHED)
    for _ in range(5):
        run.fire()
    run.fail("GatewayDown")
    assert (run.leg.unfinished, run.leg.rung, run.leg.waiting) == (False, 0, True)
    run.fire()
    assert (run.sent.key.operation, run.sent.attempt) == ("do", 2)
    assert not run.leg.unfinished  # that is an attempt: it has its timeout
    assert run.leg.due == run.now + 30.0


def test_taken_once_more_it_is_asked_as_soon_as_the_first_time() -> None:
    run = waiting()
    for _ in range(8):
        run.fire()
    run.fail("GatewayDown")
    run.fire()
    run.fail(UNFINISHED)
    assert run.leg.due is not None
    assert run.leg.due - run.now <= MINUTE


def test_its_last_question_is_another_attempt_and_gives_up_on_the_next_not_yet() -> None:
    run = waiting()
    while run.leg.unfinished:
        run.fire()
    assert (run.now, run.sent.attempt, run.leg.rung) == (START + 3 * DAY, 2, 0)
    run.fail(UNFINISHED)
    assert run.sent.key.operation == "undo"


def test_a_not_yet_that_comes_behind_the_bound_leaves_the_last_question_to_be_asked() -> None:
    run = waiting()
    run.give(run.answer("failed", Paid(payment_id="?"), UNFINISHED), at=START + 4 * DAY)
    assert (run.status, run.sent.key.operation, run.leg.unfinished) == ("running", "do", True)


@pytest.mark.parametrize("paused", [True, False])
def test_paused_or_not_sent_yet_it_asks_the_next_time_and_its_bound_stays(paused: bool) -> None:
    run = waiting()
    by, due = run.leg.finish_by, run.leg.due
    if paused:
        run.pause()
    run.fire(unsent=not paused)
    assert (len(run.sends), run.kinds, run.leg.finish_by, run.leg.rung) == (1, [], by, 2)
    assert due is not None
    assert run.leg.due is not None
    assert run.leg.due - due > MINUTE
    if paused:
        run.resume()
    run.fire()
    assert len(run.sends) == 2


def test_a_bound_of_less_than_a_minute_needs_no_question() -> None:
    run = Run(saga(within=timedelta(seconds=40)), start=Order(order_id="o1"))
    run.fail(UNFINISHED)
    assert run.leg.due == run.leg.finish_by
    run.fire()
    assert run.sent.attempt == 2


def test_what_must_be_begun_in_time_gets_no_more_time_by_being_asked_after() -> None:
    step = Step(
        charge, to="payment", compensation=refund, finished_within=timedelta(days=3), taken_within=timedelta(minutes=5)
    )
    run = Run(Saga("order", start=Order, key=lambda order: order.order_id, steps=(step,)), start=Order(order_id="o1"))
    deadline = run.sent.not_after
    run.fail(UNFINISHED)
    run.fire()
    assert run.sent.not_after == deadline


def test_one_that_an_older_choros_left_waiting_waits_for_its_bound() -> None:
    leg = Leg("do", "{}", 1, 0.0, due=90.0, finish_by=90.0)
    assert (leg.unfinished, leg.asks_next) == (True, False)


@pytest.mark.parametrize(
    ("leg", "unfinished", "asks_next"),
    [
        (Leg("do", "{}", 1, 0.0, due=60.0), False, False),
        (Leg("do", "{}", 1, 0.0, due=60.0, finish_by=90.0), False, False),  # an attempt, behind one that failed
        (Leg("do", "{}", 1, 0.0, due=None, finish_by=90.0, rung=2), False, False),  # parked
        (Leg("do", "{}", 1, 0.0, due=60.0, finish_by=90.0, rung=1), True, True),
        (Leg("do", "{}", 1, 0.0, due=90.0, finish_by=90.0, rung=3), True, False),
    ],
)
def test_what_is_due_is_an_attempt_a_question_or_the_last_one(leg: Leg, unfinished: bool, asks_next: bool) -> None:
    assert (leg.unfinished, leg.asks_next) == (unfinished, asks_next)


def test_in_a_dialogue_questions_are_answered_by_themselves() -> None:
    test = begun()
    charged = test.expect_command(Charge)
    charged.finish_later()
    test.advance(timedelta(days=2))
    test.expect_nothing()
    charged.time_out()
    assert test.now >= 3 * DAY
    test.expect_command(Charge).reply(Paid(payment_id="p1"))
    test.expect_command(Ship)
    assert isinstance(test, SagaTest)

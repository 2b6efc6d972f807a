"""Rules 3 and 4: deadlines, timeouts, and how often a command is tried again."""

from datetime import timedelta

from choros.saga.machine.inputs import TimerFired
from choros.saga.nodes import Pivot, Publish, Retriable, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from tests.saga.driving import START, Run, commands
from tests.saga.shop import (
    CHARGED,
    SHIPPED,
    PlaceOrder,
    charge_payment,
    make_order_saga,
    order_noted,
    parcel_saga,
    print_invoice,
    refund_payment,
    ship_parcel,
)

STEADY = RetryPolicy(initial=timedelta(seconds=8), jitter=0, total=timedelta(seconds=100), attempts=None)


def test_rule_4_every_command_and_undo_has_a_timeout() -> None:
    run = Run()
    assert run.leg.due == START + 30
    run.cancel()
    assert run.leg.due == START + 30


def test_rule_4_silence_is_followed_by_the_same_command_at_once() -> None:
    run = Run()
    run.fire()
    assert run.kinds == ["timed_out", "sent"]
    assert (run.leg.attempt, run.leg.due) == (2, START + 60)


def test_rule_4_a_failure_is_followed_by_a_wait_that_can_be_seen() -> None:
    run = Run(make_order_saga(STEADY))
    run.fail("ConnectionError")
    assert (run.kinds, run.last.sends) == (["failed", "retry_scheduled"], ())
    scheduled = run.last.events[-1]
    assert (scheduled.seconds, scheduled.attempt, run.instance.wake_at) == (8, 2, START + 8)
    run.fire()
    assert (run.kinds, run.leg.attempt, run.leg.waiting) == (["sent"], 2, False)
    assert run.leg.due == START + 38


def test_rule_4_the_wait_grows_until_its_time_is_up() -> None:
    run = Run(make_order_saga(STEADY))
    waits = []
    while run.status == "running":
        run.fail()
        waits.append(run.last.events[1].seconds)
        run.fire()
    assert waits == [8, 16, 32, 0]  # the fourth would have come after 56 + 64 seconds


def test_rule_4_silence_counts_the_time_from_the_first_attempt() -> None:
    run = Run(make_order_saga(STEADY))
    run.time_out(3)
    assert (run.leg.attempt, run.status) == (4, "running")
    run.fire()
    assert (run.now, run.status) == (START + 120, "compensating")


def test_rule_4_while_the_command_cannot_leave_no_attempt_is_counted() -> None:
    run = Run()
    run.fire(unsent=True)
    assert (run.last.sends, run.last.events) == ((), ())
    assert (run.leg.attempt, run.leg.due) == (1, run.now + 30)


def test_rule_4_an_outage_as_long_as_the_retries_uses_none_of_their_time_up() -> None:
    run = Run(make_order_saga(STEADY, deadline=None))
    for _ in range(20):
        run.fire(unsent=True)
    assert run.now == START + 600  # six times what the policy allows in all
    run.time_out(3)
    assert (run.leg.attempt, run.status) == (4, "running")
    run.fire()
    assert (run.now, run.status) == (START + 720, "compensating")


def test_rule_4_the_clock_of_another_orchestrator_gives_the_retries_no_more_time() -> None:
    run = Run(make_order_saga(STEADY, deadline=None))
    run.give(TimerFired(run.instance.under_way), at=START + 3_000)  # its clock is ahead by 3000 s
    assert run.leg.due == START + 3_030
    run.now = START + 125  # 100 s and the one timeout for which it was held are not over after the next wait
    run.fail()
    assert (run.now, run.status, run.kinds) == (START + 125, "compensating", ["failed", "compensating", "sent"])


def test_between_two_attempts_no_command_waits_so_nothing_unsent_holds_the_next_one_back() -> None:
    run = Run()
    run.fail()
    run.fire(unsent=True)
    assert (run.kinds, run.leg.attempt) == (["sent"], 2)


def test_between_two_attempts_a_pause_does_hold_the_next_one_back() -> None:
    run = Run()
    run.fail()
    run.pause()
    run.fire()
    assert (run.last.sends, run.leg.attempt, run.leg.waiting) == ((), 1, True)


def test_a_timer_that_fires_too_early_does_nothing() -> None:
    run = Run()
    before = run.instance
    run.give(TimerFired(), at=START + 29)
    assert (run.instance, run.last.events) == (before, ())


def test_attempts_used_up_before_the_pivot_undo_the_step_itself_too() -> None:
    run = Run()
    run.ok(CHARGED)
    run.time_out(2)
    assert run.progress() == ["ok", "in_doubt", "pending"]
    assert commands(run)[-1] == "reserve_inventory:1:undo#1"
    run.ok()
    assert commands(run)[-1] == "charge_payment:1:undo#1"


def test_rule_3_a_step_is_sent_with_a_deadline_that_no_attempt_outlives() -> None:
    run = Run(make_order_saga(STEADY))
    assert run.sent.not_after == START + 100
    run.time_out(3)
    assert run.sent.not_after == START + 120


def test_rule_3_the_undo_carries_the_greatest_deadline_ever_sent() -> None:
    run = Run(make_order_saga(STEADY))
    run.time_out(3)
    greatest = run.sent.not_after
    run.time_out(1)
    assert (commands(run)[-1], run.sent.not_after) == ("charge_payment:1:undo#1", greatest)


def test_rule_3_a_step_tried_again_by_a_person_gets_a_fresh_deadline() -> None:
    run = Run(make_order_saga(RetryPolicy(attempts=1, exhausted="park"), deadline=None))
    run.fire()
    first = run.sent.not_after
    run.now += 10_000
    run.retry("charge_payment")
    assert (first, run.sent.not_after) == (START + 900, run.now + 900)


def test_rule_3_a_clock_that_was_set_back_lowers_no_deadline() -> None:
    run = Run(make_order_saga(RetryPolicy(attempts=1, exhausted="park"), deadline=None))
    run.fire()
    run.now = START - 500
    run.retry("charge_payment")
    assert run.sent.not_after == START + 900


TAKEN = Saga(
    "order",
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(
        Step(
            charge_payment, to="payment", compensation=refund_payment, retry=STEADY, taken_within=timedelta(seconds=5)
        ),
    ),
)


def test_rule_3_what_is_to_be_taken_in_time_carries_no_more_than_that() -> None:
    run = Run(TAKEN)
    assert run.sent.not_after == START + 5
    run.refuse("expired")
    assert (run.status, run.instance.state("charge_payment").progress) == ("compensated", "refused")
    assert len(run.sends) == 1


def test_rule_3_silence_gives_it_no_more_time() -> None:
    """The first copy may have been taken: the next one asks for its answer. If it was not, it never will be."""
    run = Run(TAKEN)
    run.time_out(2)
    run.fire(unsent=True)
    run.fire()
    assert [send.not_after for send in run.sends] == [START + 5] * 4
    run.time_out(1)
    assert (commands(run)[-1], run.sent.not_after) == ("charge_payment:1:undo#1", START + 5)


def test_rule_3_what_was_taken_and_failed_may_be_taken_once_more() -> None:
    run = Run(TAKEN)
    run.fail()
    run.fire()
    assert (run.sent.attempt, run.sent.not_after) == (2, START + 8 + 5)


def test_rule_3_a_person_gives_it_its_time_once_more() -> None:
    parking = RetryPolicy(attempts=1, exhausted="park")
    step = Step(
        charge_payment, to="payment", compensation=refund_payment, retry=parking, taken_within=timedelta(seconds=9)
    )
    run = Run(Saga("order", start=PlaceOrder, key=lambda order: order.order_id, steps=(step,)))
    run.fire()
    run.now += 10_000
    run.retry("charge_payment")
    assert run.sent.not_after == run.now + 9


def test_rule_3_pivot_and_retriable_carry_none() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    assert [send.not_after is None for send in run.sends] == [False, True, True]


def test_a_step_has_its_own_timeout_and_its_undo_its_own_policy() -> None:
    step = Step(
        charge_payment,
        to="payment",
        compensation=refund_payment,
        timeout=timedelta(seconds=5),
        retry=RetryPolicy(attempts=1),
        undo_retry=RetryPolicy(attempts=3),
    )
    run = Run(Saga("slow", start=PlaceOrder, steps=(step, Pivot(ship_parcel, to="shipping"))))
    run.fire()
    assert commands(run) == ["charge_payment:1:do#1", "charge_payment:1:undo#1"]
    run.time_out(2)
    assert (commands(run)[-1], run.now) == ("charge_payment:1:undo#3", START + 15)
    run.fire()
    assert run.status == "parked"


def test_the_deadline_of_the_saga_undoes_it() -> None:
    run = Run(make_order_saga(deadline=timedelta(seconds=45)))
    run.ok(CHARGED)
    run.time_out(2)
    assert run.now == START + 45
    assert run.kinds == ["compensating", "sent"]
    assert run.progress() == ["ok", "in_doubt", "pending"]
    assert '"code":"deadline"' in run.instance.failure
    assert run.instance.deadline is None


def test_past_the_deadline_no_step_is_tried_again() -> None:
    run = Run(make_order_saga(deadline=timedelta(seconds=30)))
    run.fire()
    assert commands(run) == ["charge_payment:1:do#1", "charge_payment:1:undo#1"]


def test_the_deadline_ends_with_the_pivot() -> None:
    steps = (Pivot(ship_parcel, to="shipping"), Publish(order_noted), Retriable(print_invoice, to="printing"))
    run = Run(Saga("dated", start=PlaceOrder, steps=steps, deadline=timedelta(seconds=10)))
    assert run.instance.wake_at == START + 10
    run.ok(SHIPPED)
    assert (run.status, run.instance.deadline, run.instance.wake_at) == ("running", None, START + 30)


def test_rule_19_a_fact_after_the_pivot_waits_for_nothing() -> None:
    steps = (Pivot(ship_parcel, to="shipping"), Publish(order_noted), Retriable(print_invoice, to="printing"))
    run = Run(Saga("dated", start=PlaceOrder, steps=steps))
    run.ok(SHIPPED)
    assert [(fact.type, fact.seq) for fact in run.last.facts] == [("order-noted.v1", 1)]


def test_the_deadline_holds_for_a_parked_step_too() -> None:
    run = Run(make_order_saga(RetryPolicy(attempts=1, exhausted="park")))
    run.fire()
    assert (run.status, run.instance.wake_at) == ("parked", START + 3600)
    run.fire()
    assert run.status == "compensating"
    run.ok()
    assert (run.status, run.instance.wake_at) == ("compensated", None)


def test_an_undo_has_no_deadline_but_its_own_timer() -> None:
    run = Run()
    run.cancel()
    assert run.instance.wake_at == START + 30
    run.time_out(1)
    assert commands(run)[-1] == "charge_payment:1:undo#2"

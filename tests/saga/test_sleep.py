# mypy: disable-error-code="empty-body,arg-type"
"""`Sleep`: the moment is decided once and kept; it never ends early, and what happens to the saga happens during it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.runtime.orchestrator.states import MOST_IN_RECORD, states_and_entries
from choros.saga.diagram import mermaid, outline
from choros.saga.difference import why_not_moved
from choros.saga.machine.inputs import CancelRequested, RerunRequested, ResumeRequested, TimerFired
from choros.saga.machine.instance import Instance, NodeState, States
from choros.saga.machine.rerun import kept_by
from choros.saga.nodes import Check, Pivot, Publish, Retriable, Sleep, Step
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from tests.saga.driving import START, Run, commands
from tests.saga.shop import (
    CHARGED,
    ORDER,
    SHIPPED,
    ChargePayment,
    OrderShipped,
    PaymentCharged,
    PlaceOrder,
    PrintInvoice,
    RefundPayment,
    ShipOrder,
    charge_payment,
    order_confirmed,
    order_noted,
    order_rejected,
    print_invoice,
    refund_payment,
    ship_parcel,
)
from tests.saga.test_declaration import PAY, SHIP, declare

DAY = 86_400.0
asked: list[str] = []
"""What the functions were called for."""


def cooling_off(order: PlaceOrder) -> timedelta:
    asked.append(order.order_id)
    return timedelta(days=order.total)


def day_after(shipped: OrderShipped) -> datetime:
    asked.append(shipped.parcel)
    return datetime.fromtimestamp(START + 200 * DAY, timezone(timedelta(hours=2)))


STEPS = (
    Step(charge_payment, to="payment", compensation=refund_payment),
    Publish(order_noted),
    Sleep(cooling_off),
    Pivot(ship_parcel, to="shipping"),
    Sleep.until(day_after),
    Retriable(print_invoice, to="printing"),
)


def make_saga(steps: Sequence[Any] = STEPS, **more: Any) -> Saga[PlaceOrder]:
    closing: dict[str, Any] = {"completed": order_confirmed, "compensated": order_rejected}
    return Saga("subscription", start=PlaceOrder, steps=steps, **closing, **more)


saga = make_saga()


def asleep(of: Saga[PlaceOrder] = saga) -> Run:
    """Paid, and sleeping for a hundred days."""
    asked.clear()
    run = Run(of)
    run.ok(CHARGED)
    return run


# --- forward ----------------------------------------------------------------------------------------------------------


def test_it_waits_for_as_long_as_was_decided_and_goes_on_by_itself() -> None:
    run = asleep()
    assert run.instance.state("cooling_off") == NodeState("asleep", until=START + 100 * DAY)
    assert (run.kinds, run.last.events[-1].seconds) == (["replied", "fact_held", "asleep"], 100 * DAY)
    assert (run.instance.wake_at, saga.at_work(run.instance), run.status) == (
        START + 100 * DAY,
        "cooling_off",
        "running",
    )
    run.fire()
    assert (run.kinds, commands(run)[-1]) == (["woken", "sent"], "ship_parcel:1:do#1")
    assert run.instance.state("cooling_off") == NodeState("ok")


def test_the_moment_is_decided_once_and_kept() -> None:
    run = asleep()
    for _ in range(3):
        run.pause()
        run.resume()
        run.give(TimerFired(), at=run.now + 1)
    assert (asked, run.instance.state("cooling_off").until) == (["o1"], START + 100 * DAY)


def test_a_timer_never_ends_it_early() -> None:
    run = asleep()
    run.give(TimerFired(), at=START + 100 * DAY - 1e-3)
    assert (run.kinds, run.instance.wake_at) == ([], START + 100 * DAY)
    run.give(TimerFired(), at=START + 100 * DAY)
    assert run.kinds == ["woken", "sent"]


def test_it_ends_though_commands_cannot_leave() -> None:
    run = asleep()
    run.give(TimerFired(unsent=True), at=START + 100 * DAY)
    assert run.kinds == ["woken", "sent"]


def test_until_a_moment_and_one_that_is_past_is_over_at_once() -> None:
    run = asleep()
    run.fire()
    run.ok(SHIPPED)
    assert run.instance.state("day_after").until == START + 200 * DAY
    late = asleep()
    late.give(TimerFired(), at=START + 300 * DAY)
    late.ok(SHIPPED)
    assert late.kinds == ["replied", "pivot_passed", "fact_published", "asleep", "woken", "sent"]
    assert late.last.events[3].seconds == 0


def test_it_may_begin_a_saga_and_end_it() -> None:
    run = Run(declare(Sleep(timedelta(hours=1)), PAY, Sleep(timedelta(milliseconds=1), name="nap")))
    assert (run.sends, run.instance.wake_at) == ([], START + 3600)
    run.fire()
    run.ok(CHARGED)
    assert (run.status, run.instance.wake_at) == ("running", run.now + 0.001)
    run.fire()
    assert (run.kinds, run.instance.wake_at) == (["woken", "completed"], None)


# --- what happens to the saga meanwhile -------------------------------------------------------------------------------


def test_a_cancel_undoes_the_saga_and_of_the_sleep_nothing_is_left() -> None:
    run = asleep()
    run.cancel()
    assert (run.kinds, commands(run)[-1]) == (["compensating", "fact_dropped", "sent"], "charge_payment:1:undo#1")
    assert run.instance.failure.count("cooling_off") == 1
    assert run.instance.state("cooling_off") == NodeState()
    assert run.instance.wake_at == run.leg.due
    run.ok()
    assert run.status == "compensated"


def test_the_deadline_of_the_saga_runs_on() -> None:
    run = asleep(make_saga(deadline=timedelta(days=30)))
    assert run.instance.wake_at == START + 30 * DAY
    run.fire()
    assert commands(run)[-1] == "charge_payment:1:undo#1"


def test_what_comes_with_the_timer_comes_first() -> None:
    run = asleep()
    run.give(TimerFired(), CancelRequested("cancel"), at=START + 100 * DAY)
    assert commands(run)[-1] == "charge_payment:1:undo#1"


def test_behind_the_pivot_a_cancel_comes_too_late() -> None:
    run = asleep()
    run.fire()
    run.ok(SHIPPED)
    run.cancel()
    assert (run.kinds, run.instance.state("day_after").progress) == (["too_late"], "asleep")


def test_in_a_pause_it_goes_on_and_what_follows_waits_for_the_resume() -> None:
    run = asleep()
    run.pause()
    run.fire()
    assert (run.kinds, run.last.sends, run.instance.wake_at) == (["woken"], (), None)
    run.resume()
    assert (run.kinds, commands(run)[-1]) == (["resumed", "sent"], "ship_parcel:1:do#1")


def test_resumed_late_it_is_over_at_once() -> None:
    run = asleep()
    run.pause()
    run.give(ResumeRequested("resume"), at=START + 101 * DAY)
    assert run.kinds == ["resumed", "woken", "sent"]


def test_what_is_undone_before_a_sleep_that_is_over() -> None:
    run = asleep()
    run.fire()
    run.refuse("no_such_address")
    assert commands(run)[-1] == "charge_payment:1:undo#1"


# --- stored -----------------------------------------------------------------------------------------------------------


def test_an_older_choros_leaves_a_sleeping_instance_alone() -> None:
    stored = asleep().instance.dumps()
    assert '"progress":"asleep"' in stored and f'"until":{START + 100 * DAY}' in stored
    assert Instance.loads(stored).wake_at == START + 100 * DAY
    with pytest.raises(ValueError, match="untold"):
        Instance.loads(stored.replace('"until"', '"untold"'))


def test_a_sleep_stays_in_the_record_however_many_steps_are_over() -> None:
    nodes = States({"nap": NodeState("asleep", until=1.0)})
    nodes.update({f"step{number}": NodeState("ok") for number in range(MOST_IN_RECORD + 5)})
    kept, entries = states_and_entries(Instance("s1", "{}", nodes), {}, list(nodes).index)
    assert (kept.wake_at, len(entries), "nap" in entries) == (1.0, 5, False)


def shorter(order: PlaceOrder) -> timedelta:
    asked.append("anew")
    return timedelta(1)


def test_a_move_to_another_version_keeps_the_moment() -> None:
    steps = [*saga.steps[:2], Sleep(shorter, name="cooling_off"), *saga.steps[3:]]
    other = make_saga(version=2, steps=steps)
    run = asleep()
    assert why_not_moved(run.instance, other.fingerprint.text, saga.fingerprint.text) == ""
    run.saga = other
    run.fire()
    assert (run.kinds, run.now, asked) == (["woken", "sent"], START + 100 * DAY, ["o1"])


def test_run_again_it_keeps_a_sleep_that_is_over_and_sleeps_anew_behind_what_comes_out_anew() -> None:
    check = Check(charge_payment, to="payment")
    steps = (check, Publish(order_noted), Sleep(cooling_off), SHIP)
    run = Run(declare(*steps))
    run.ok(CHARGED)
    run.fire()
    run.refuse("no_such_address")
    assert list(kept_by(run.saga.outline, run.instance, "ship_parcel")) == ["charge_payment"]
    bare = Run(declare(check, Sleep(cooling_off), SHIP))
    bare.ok(CHARGED)
    bare.fire()
    bare.refuse("no_such_address")
    assert list(kept_by(bare.saga.outline, bare.instance, "ship_parcel")) == ["charge_payment", "cooling_off"]
    cut = Run(declare(check, Sleep(cooling_off), SHIP))
    cut.ok(CHARGED)
    cut.cancel()
    assert list(kept_by(cut.saga.outline, cut.instance, "ship_parcel")) == ["charge_payment"]
    cut.give(RerunRequested("act", "cooling_off", "s2"))
    assert cut.kinds == ["too_late"]  # nobody can be asked to sleep: from what it commands only


# --- what cannot be slept ---------------------------------------------------------------------------------------------


class Nowhere(tzinfo):
    """A time zone that is a bug."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        raise LookupError

    dst = tzname = utcoffset  # type: ignore[assignment]  # nobody comes so far


def zoned(zone: tzinfo | None) -> Callable[[], datetime]:
    return lambda: datetime(2030, 1, 1, tzinfo=zone)


@pytest.mark.parametrize(
    ("given", "until", "words"),
    [
        (lambda: timedelta(seconds=-1), False, "is not a time to wait"),
        (lambda: 5, False, "5 is not a time to wait"),
        (lambda: 1 / 0, False, "wait raised ZeroDivisionError"),
        (lambda: timedelta.max, False, "is longer than a hundred years"),
        (zoned(None), True, "is not a moment with a time zone"),
        (lambda: 5, True, "5 is not a moment with a time zone"),
        (zoned(Nowhere()), True, "raised LookupError"),
        (lambda: datetime.max.replace(tzinfo=UTC), True, "is longer than a hundred years"),
    ],
)
def test_what_is_no_wait_parks_the_saga_and_a_retry_asks_again(given: Any, until: bool, words: str) -> None:
    answers = [given, lambda: datetime(2030, 1, 1, tzinfo=UTC) if until else timedelta(0)]
    wait: Callable[..., Any] = lambda order: answers.pop(0)()  # noqa: E731
    wait.__name__ = "wait"
    wait.__annotations__ = {"order": PlaceOrder, "return": datetime if until else timedelta}
    run = Run(declare(Sleep.until(wait) if until else Sleep(wait), PAY))
    assert run.status == "parked"
    assert words in run.instance.why_parked
    run.skip("wait")
    assert run.kinds == ["too_late"]
    run.retry("wait")
    assert run.kinds[:2] == ["unparked", "asleep"]


def test_parked_before_it_slept_it_can_be_cancelled() -> None:
    def wait(order: PlaceOrder) -> timedelta:
        raise LookupError

    run = Run(declare(Sleep(wait), PAY))
    run.give(TimerFired())
    run.pause()
    run.resume()
    assert run.status == "parked"
    run.cancel()
    assert run.status == "compensated"


NAIVE = datetime.fromisoformat("2030-01-01")


def nothing_said(order: PlaceOrder) -> int: ...


MISTAKES: Sequence[tuple[Any, str]] = [
    (lambda: Sleep(5), "order': sleep: duration=5 is no timedelta. Try: write duration=timedelta(seconds=5)."),
    (lambda: Sleep(timedelta(0), name="nap"), "saga 'order': nap: duration=0:00:00 is no time to wait."),
    (lambda: Sleep(timedelta(days=-1)), "saga 'order': sleep: duration=-1 day, 0:00:00 is no time to wait."),
    (lambda: Sleep(timedelta.max), "saga 'order': sleep: duration is longer than a hundred years."),
    (lambda: Sleep(day_after), "day_after returns datetime, not a timedelta. Try: write Sleep.until(day_after)"),
    (lambda: Sleep.until(cooling_off), "returns timedelta, not a datetime. Try: write Sleep(cooling_off)"),
    (lambda: Sleep(nothing_said), "nothing_said returns int, not a timedelta."),
    (
        lambda: Sleep.until("friday"),
        "sleep sleeps until 'friday', which is no moment. Try: write one with its time",
    ),
    (lambda: Sleep.until(NAIVE), "sleep sleeps until datetime.datetime(2030, 1, 1, 0, 0), which is no moment."),
    (lambda: Sleep(partial(cooling_off)), "is no function. Try: write one that returns a timedelta."),
    (lambda: Sleep(lambda order: timedelta(1)), "'<lambda>' is no name for a step."),
]


@pytest.mark.parametrize(("step", "words"), MISTAKES)
def test_a_mistake_is_a_sentence_where_it_is_written(step: Callable[[], Any], words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(PAY, step())
    assert words in str(caught.value)


def test_two_sleeps_without_a_name_are_told_apart_by_one() -> None:
    nap = Sleep(timedelta(seconds=1))
    with pytest.raises(DeclarationError, match="two steps are called sleep"):
        declare(PAY, nap, nap)
    assert list(declare(PAY, nap, Sleep.until(datetime(2030, 1, 1, tzinfo=UTC), name="new_year")).outline.leaves) == [
        "charge_payment", "sleep", "new_year",
    ]  # fmt: skip


# --- for whoever reads it ---------------------------------------------------------------------------------------------


def test_the_fingerprint_says_what_fills_its_function_and_not_how_long_it_is() -> None:
    text = saga.fingerprint.text
    assert "cooling_off: sleep\n  for a time of (place-order)\n" in text
    assert "day_after: sleep\n  until a moment of (ship_parcel: order-shipped)\n" in text
    short, long = (declare(PAY, Sleep(timedelta(days=days))) for days in (1, 300))
    assert short.fingerprint == long.fingerprint
    assert short.fingerprint.text.count("sleep: sleep\n") == 1


def test_diagram_and_outline_say_how_long() -> None:
    fixed = declare(Sleep(timedelta(days=3)), PAY, Sleep.until(datetime(2030, 1, 1, tzinfo=UTC), name="new_year"))
    assert '    s2(("cooling_off<br/>sleeps for what cooling_off says"))' in mermaid(saga).splitlines()
    assert "  day_after: sleeps until what day_after says" in outline(saga)
    assert outline(fixed)[2] == "  sleep: sleeps for 3 days, 0:00:00"
    assert "  new_year: sleeps until 2030-01-01 00:00:00+00:00" in outline(fixed)
    assert "s0 -->" in mermaid(fixed) and "s2 --> completed" in mermaid(fixed)


def test_the_dialogue_reads_as_it_happens() -> None:
    test = SagaTest(saga)
    test.start(ORDER)
    test.expect_command(ChargePayment, to="payment").reply(CHARGED)
    test.expect_nothing()
    test.advance(timedelta(days=99))
    test.expect_nothing()
    test.advance(timedelta(days=1))
    test.expect_command(ShipOrder).reply(SHIPPED)
    test.advance(timedelta(days=365))
    test.expect_command(PrintInvoice)
    cancelled = SagaTest(saga)
    cancelled.start(ORDER)
    cancelled.expect_command(ChargePayment).reply(PaymentCharged(payment_id="p1"))
    cancelled.cancel()
    cancelled.expect_compensation(RefundPayment).reply()
    assert cancelled.status == "compensated"

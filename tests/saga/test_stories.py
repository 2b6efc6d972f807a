"""Whole lives of sagas as their histories tell them, word for word: what a person reads when something went wrong.

`kind step operation#attempt code (seconds) <cause>`; what an event does not say is left out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from choros.messages import Closed, Failure
from choros.saga.machine.inputs import CancelRequested, Event, PauseRequested, SkipRequested, TimerFired
from choros.saga.machine.instance import Instance
from choros.saga.nodes import Pivot, Publish, Step
from choros.saga.saga import Saga
from tests.saga.driving import START, Run, at_pivot
from tests.saga.shop import (
    CHARGED,
    SHIPPED,
    TWICE,
    charge_payment,
    make_order_saga,
    order_noted,
    order_rejected,
    order_saga,
    parcel_saga,
    refund_payment,
    ship_parcel,
)


def told(event: Event) -> str:
    sent = f"{event.operation}#{event.attempt}" if event.operation else ""
    seconds = f"({event.seconds:g}s)" if event.seconds else ""
    words = (event.kind, event.step, sent, event.code, seconds, f"<{event.cause}>")
    return " ".join(word for word in words if word)


def story(run: Run) -> list[str]:
    return [told(event) for event in run.events]


def published(run: Run) -> list[tuple[int, str, str, str]]:
    return [(fact.seq, fact.type, fact.data, fact.step) for fact in run.facts]


def test_a_saga_that_completes() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.ok()
    assert story(run) == [
        "started <start>",
        "sent charge_payment do#1 <start>",
        "replied charge_payment do#1 <reply-1>",
        "fact_held order_noted order-noted.v1 <reply-1>",
        "fact_published order_announced order-announced.v1 <reply-1>",
        "sent ship_parcel do#1 <reply-1>",
        "replied ship_parcel do#1 <reply-2>",
        "pivot_passed ship_parcel <reply-2>",
        "fact_published order_noted order-noted.v1 <reply-2>",
        "sent print_invoice do#1 <reply-2>",
        "replied print_invoice do#1 <reply-3>",
        "fact_published parcel_on_its_way parcel-on-its-way.v1 <reply-3>",
        "fact_published order-confirmed.v1 <reply-3>",
        "completed <reply-3>",
    ]
    assert published(run) == [
        (1, "order-announced.v1", '{"order_id":"o1"}', "order_announced"),
        (2, "order-noted.v1", '{"order_id":"o1"}', "order_noted"),
        (3, "parcel-on-its-way.v1", '{"parcel":"x1"}', "parcel_on_its_way"),
        (4, "order-confirmed.v1", '{"order_id":"o1","parcel":"x1"}', ""),
    ]


def test_a_saga_that_is_refused_at_its_pivot() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.cancel()
    run.refuse("no_such_address")
    run.ok()
    assert story(run) == [
        "started <start>",
        "sent charge_payment do#1 <start>",
        "replied charge_payment do#1 <reply-1>",
        "fact_held order_noted order-noted.v1 <reply-1>",
        "fact_published order_announced order-announced.v1 <reply-1>",
        "sent ship_parcel do#1 <reply-1>",
        "wanted cancelled <cancel>",
        "refused ship_parcel do#1 no_such_address <reply-2>",
        "compensating ship_parcel no_such_address <reply-2>",
        "fact_dropped order_noted order-noted.v1 <reply-2>",
        "fact_published order_announced order-withdrawn.v1 <reply-2>",
        "sent charge_payment undo#1 <reply-2>",
        "undone charge_payment undo#1 <reply-3>",
        "fact_published order-rejected.v1 <reply-3>",
        "compensated <reply-3>",
    ]
    assert published(run) == [
        (1, "order-announced.v1", '{"order_id":"o1"}', "order_announced"),
        (2, "order-withdrawn.v1", '{"order_id":"o1"}', "order_announced"),
        (3, "order-rejected.v1", '{"order_id":"o1","code":"no_such_address"}', ""),
    ]


def test_a_pivot_that_cannot_be_called_off_any_more() -> None:
    run = at_pivot()
    run.cancel()
    run.ok(SHIPPED)
    run.cancel()
    run.pause()
    run.resume()
    assert story(run)[6:] == [
        "wanted cancelled <cancel>",
        "replied ship_order do#1 <reply-3>",
        "pivot_passed ship_order <reply-3>",
        "too_late ship_order cancelled <reply-3>",
        "fact_published order-confirmed.v1 <reply-3>",
        "completed <reply-3>",
        "too_late cancelled <cancel>",
        "too_late pause <pause>",
        "too_late resume <resume>",
    ]


def test_a_step_that_fails_and_falls_silent() -> None:
    run = Run()
    run.fail("Timeout")
    run.fire()
    run.fire()
    assert story(run) == [
        "started <start>",
        "sent charge_payment do#1 <start>",
        "failed charge_payment do#1 Timeout <reply-1>",
        "retry_scheduled charge_payment do#2 (1s) <reply-1>",
        "sent charge_payment do#2 <reply-1>",
        "timed_out charge_payment do#2 <reply-1>",
        "compensating charge_payment timeout <reply-1>",
        "sent charge_payment undo#1 <reply-1>",
    ]
    assert Failure.from_json(run.instance.failure) == Failure(code="timeout", step="charge_payment", kind="in_doubt")


def test_a_pivot_that_falls_silent_and_a_person_who_helps() -> None:
    run = at_pivot()
    run.time_out(2)
    run.retry("somewhere")
    run.skip("somewhere")
    run.pause()
    run.pause()
    run.resume()
    run.retry("ship_order")
    run.time_out(2)
    run.skip("ship_order", SHIPPED)
    run.ok(Closed())
    assert story(run)[6:] == [
        "timed_out ship_order do#1 <reply-2>",
        "sent ship_order do#2 <reply-2>",
        "timed_out ship_order do#2 <reply-2>",
        "parked ship_order ship_order (do) is in doubt after 2 attempts: timeout <reply-2>",
        "too_late somewhere retry <retry>",
        "too_late somewhere skip <skip>",
        "paused ship_order <pause>",
        "too_late pause <pause>",
        "resumed ship_order <resume>",
        "unparked ship_order <retry>",
        "sent ship_order do#3 <retry>",
        "timed_out ship_order do#3 <retry>",
        "parked ship_order ship_order (do) is in doubt after 3 attempts: timeout <retry>",
        "wanted deadline <retry>",
        "unparked ship_order <skip>",
        "sent ship_order close#1 <skip>",
        "skipped ship_order close#1 <reply-3>",
        "pivot_passed ship_order <reply-3>",
        "too_late ship_order deadline <reply-3>",
        "fact_published order-confirmed.v1 <reply-3>",
        "completed <reply-3>",
    ]


def test_a_retriable_step_that_was_refused_is_tried_in_a_new_round() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("expired")
    refused = run.states[4]
    run.retry("print_invoice")
    again = run.states[4]
    assert story(run)[-5:] == [
        "sent print_invoice do#1 <reply-2>",
        "refused print_invoice do#1 expired <reply-3>",
        "parked print_invoice print_invoice was refused (expired) after the pivot <reply-3>",
        "unparked print_invoice <retry>",
        "sent print_invoice do#1 <retry>",
    ]
    assert (refused.progress, refused.round, again.progress, again.round) == ("refused", 1, "sent", 2)


# --- what no history tells --------------------------------------------------------------------------------------------


def test_a_saga_at_its_end_holds_nothing() -> None:
    completed, undone = at_pivot(), Run(parcel_saga)
    completed.ok(SHIPPED)
    undone.ok(CHARGED)
    undone.refuse("no_such_address")
    undone.ok()
    for run, status in ((completed, "completed"), (undone, "compensated")):
        instance = run.instance
        assert (instance.status, instance.deadline, instance.wanted, instance.why_parked) == (status, None, "", "")
        assert all(state.leg is None for state in instance.nodes.values())
    assert undone.progress() == ["undone", "pending", "retracted", "refused", "pending", "pending"]
    assert undone.states[1].fact == ""


def test_a_saga_that_turns_back_forgets_why_it_waited_and_its_deadline() -> None:
    run = at_pivot()
    run.time_out(2)
    assert (run.status, run.leg.due, run.leg.waiting) == ("parked", None, False)
    run.refuse("no_such_address")
    assert (run.status, run.instance.why_parked, run.instance.deadline) == ("compensating", "", None)
    assert Failure.from_json(run.instance.failure).kind == "refused"
    run.ok()
    assert run.instance.wake_at == run.leg.due == run.now + 30


def test_a_cancelled_saga_that_was_parked_says_no_more_why_it_was() -> None:
    run = Run(make_order_saga(replace(TWICE, exhausted="park")))
    run.time_out(2)
    assert run.instance.why_parked
    run.cancel()
    assert (run.status, run.instance.why_parked) == ("compensating", "")


def test_an_early_fact_is_kept_as_it_was_published() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    assert [state.fact for state in run.states[1:3]] == ['{"order_id":"o1"}'] * 2


def test_a_saga_without_a_trace_has_none() -> None:
    assert (Run().instance.traceparent, Run().instance.tracestate) == ("", "")


def test_what_is_at_its_default_is_not_written() -> None:
    assert '"paused"' not in Run().instance.dumps()
    assert Instance.loads(Run().instance.dumps()) == Run().instance


def test_a_person_is_heard_before_the_timers_of_the_same_batch() -> None:
    run = Run()
    run.give(TimerFired(), PauseRequested("pause"), at=START + 30)
    assert run.kinds == ["paused"]
    run = Run()
    run.give(TimerFired(), CancelRequested("cancel"), at=START + 30)
    assert run.kinds == ["compensating", "sent"]


def test_an_answer_is_heard_before_a_person() -> None:
    run = Run()
    run.give(CancelRequested("cancel"), run.answer("refused", Failure(code="card_declined"), "card_declined"))
    assert [event.code for event in run.events if event.kind in ("compensating", "too_late")] == [
        "card_declined",
        "cancelled",
    ]


def test_a_parked_saga_does_not_go_on_when_a_pause_ends() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("expired")
    sent = len(run.sends)
    run.pause()
    run.resume()
    assert (run.status, len(run.sends)) == ("parked", sent)


def test_the_delay_of_a_retry_follows_from_its_key() -> None:
    policy = replace(TWICE, jitter=1.0, initial=timedelta(seconds=50))
    run = Run(make_order_saga(policy))
    run.fail()
    assert run.leg.due == START + policy.delay(1, "s1:charge_payment:1:do")


def test_only_what_is_parked_with_a_command_can_be_skipped() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("expired")
    run.skip("print_invoice")
    assert [told(event) for event in run.last.events] == ["too_late print_invoice skip <skip>"]
    run.give(SkipRequested("skip", "ship_parcel", 1, "{}"))
    assert [told(event) for event in run.last.events] == ["too_late ship_parcel skip <skip>"]


def refuses_to_be_built(*_: Any) -> Any:
    raise LookupError


def test_a_new_round_that_cannot_be_built_is_pending(monkeypatch: Any) -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.refuse("expired")
    monkeypatch.setattr("choros.saga.machine.turn.Turn._message", refuses_to_be_built)
    run.retry("print_invoice")
    assert [told(event) for event in run.last.events] == [
        "unparked print_invoice <retry>",
        "parked print_invoice print_invoice raised LookupError <retry>",
    ]
    assert (run.states[4].progress, run.states[4].round) == ("pending", 2)


def test_a_step_that_gave_up_waiting_is_not_called_waiting() -> None:
    run = Run(parcel_saga)
    run.ok(CHARGED)
    run.ok(SHIPPED)
    run.time_out(2)
    assert (run.status, run.leg.waiting) == ("parked", False)


def test_a_fact_without_a_pivot_waits_for_the_end() -> None:
    pay = Step(charge_payment, to="payment", compensation=refund_payment)
    run = Run(Saga("small", start=parcel_saga.start, steps=(pay, Publish(order_noted)), compensated=order_rejected))
    run.ok(CHARGED)
    assert run.kinds == ["replied", "fact_held", "fact_published", "completed"]
    assert run.progress() == ["ok", "published"]


def test_a_saga_keeps_what_it_was_declared_with() -> None:
    def by_id(order: Any) -> str:
        return f"order-{order.order_id}"

    steps = (Pivot(ship_parcel, to="shipping"),)
    saga = Saga("small", start=order_saga.start, steps=steps, key=by_id, version=3, deadline=timedelta(hours=2))
    assert (saga.name, saga.version, saga.start, saga.key) == ("small", 3, order_saga.start, by_id)
    assert (saga.deadline, saga.outline.start) == (timedelta(hours=2), order_saga.start)
    assert saga.outline.pivots == ("ship_parcel",)
    assert Saga("small", start=order_saga.start, steps=steps).version == 1

"""`Wait` for a fact: it says what the fact has to be about, and is rung only once somebody has looked what is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros.app.app import App
from choros.app.awaited_fact import awaited_facts
from choros.app.service import Service
from choros.errors import DeclarationError, UsageError
from choros.messages import Done, Fact
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import Answered, PauseRequested, ResumeRequested, TimerFired
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import Reminder, Wait
from choros.testing.dialogue import SagaTest
from tests.saga.invoice import (
    DAY,
    HANDED,
    PAID,
    RESERVED,
    HandOver,
    InvoicePaid,
    Order,
    OrderDropped,
    OrderHandedOver,
    ParcelDelivered,
    Release,
    Reserve,
    delivery,
    dropped,
    invoice_of,
    make_delivery,
    paid_invoice,
)
from tests.saga.loan import Decided

PAYMENT = InvoicePaid(invoice="i1")
FIRST = make_delivery(PAID, HANDED)
"""It waits at once."""


def waiting() -> SagaTest:
    test = SagaTest(delivery)
    test.start(Order())
    test.expect_command(Reserve).reply()
    return test


def test_what_it_hears_is_known_behind_the_wait() -> None:
    test = waiting()
    assert test.hear(PAYMENT) == "signalled"
    test.expect_command(HandOver(order_id="o1", payment="p1")).reply()
    test.expect_facts(OrderHandedOver)
    assert test.hear(PAYMENT) == "too_late"


def test_what_it_hears_early_is_kept() -> None:
    test = SagaTest(delivery)
    test.start(Order())
    assert test.hear(PAYMENT) == "kept"
    test.expect_command(Reserve).reply()
    test.expect_command(HandOver(order_id="o1", payment="p1"))


def test_what_it_hears_of_another_key_is_a_mistake_of_the_test() -> None:
    with pytest.raises(AssertionError, match="is about 'i2', and invoice_paid waits for one about 'i1'"):
        waiting().hear(InvoicePaid(invoice="i2"))
    with pytest.raises(AssertionError, match="is for one of no wait"):
        waiting().hear(ParcelDelivered(order_id="o1"))


def test_nobody_pays() -> None:
    test = waiting()
    test.advance(3 * DAY)
    test.expect_compensation(Release).reply()
    test.expect_facts(OrderDropped)


def test_it_says_what_the_fact_has_to_be_about_until_it_is_over() -> None:
    test = waiting()
    assert test.instance.state("invoice_paid").awaits == "i1"
    test.cancel()
    assert test.instance.state("invoice_paid").awaits == ""


# --- when it is looked ------------------------------------------------------------------------------------------------


def test_its_time_comes_at_once() -> None:
    first = begin(FIRST.tree, "s", Order().to_json(), 100.0, cause="c").instance
    state = first.state("invoice_paid")
    assert state.unlooked
    assert first.wake_at == 100.0
    blind = frozenset(["invoice_paid"])
    assert decide(FIRST.tree, first, [TimerFired(blind=blind)], 101.0).instance == first
    looked = decide(FIRST.tree, first, [TimerFired()], 101.0).instance
    assert not looked.state("invoice_paid").unlooked
    assert looked.wake_at == 100.0 + timedelta(days=3).total_seconds()


def test_a_wait_that_begins_in_the_decision_of_a_timer_was_not_looked_for() -> None:
    first = begin(delivery.tree, "s", Order().to_json(), 0.0, cause="c")
    reply = Answered("r", first.sends[0].key, 1, "ok", Done().to_json(), kind=Done)
    after = decide(delivery.tree, first.instance, [TimerFired(), reply], 5.0).instance
    assert after.state("invoice_paid").unlooked


def test_what_else_happens_does_not_put_its_time_off() -> None:
    first = begin(FIRST.tree, "s", Order().to_json(), 100.0, cause="c").instance
    paused = decide(FIRST.tree, first, [PauseRequested("p")], 101.0).instance
    resumed = decide(FIRST.tree, paused, [ResumeRequested("r")], 102.0).instance
    assert resumed.state("invoice_paid").unlooked
    assert resumed.wake_at == 100.0


def test_looked_for_in_a_pause_it_waits_to_its_end() -> None:
    first = begin(FIRST.tree, "s", Order().to_json(), 100.0, cause="c").instance
    paused = decide(FIRST.tree, first, [PauseRequested("p")], 101.0).instance
    looked = decide(FIRST.tree, paused, [TimerFired()], 102.0).instance
    assert not looked.state("invoice_paid").unlooked


def test_it_reminds_behind_the_first_look() -> None:
    reminding = make_delivery(
        Wait(InvoicePaid, key=invoice_of, of=paid_invoice, within=DAY, reminders=(Reminder(0 * DAY, dropped),)), HANDED
    )
    test = SagaTest(reminding)
    test.start(Order())
    test.expect_facts()
    test.advance(timedelta(0))
    test.expect_facts(OrderDropped)


# --- what can be wrong ------------------------------------------------------------------------------------------------


def no_key(order: Order) -> str:
    return ""


def number(order: Order) -> int:
    return 1


def test_a_key_that_is_none_parks() -> None:
    test = SagaTest(make_delivery(Wait(InvoicePaid, key=no_key, within=DAY), HANDED))
    test.start(Order())
    assert test.status == "parked"
    assert "no_key returned no key of 1 to 200 printable characters" in test.instance.why_parked


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"key": None}, "waits for a fact, and does not say which."),
    ({"key": "i1"}, "'i1' is no function."),
    ({"key": number}, "number returns int, not a str."),
    ({"of": "invoice"}, "of='invoice' is no function."),
    ({"keep": 3}, "keep=3 is no timedelta."),
    ({"by": "officer"}, "waits for a fact, which nobody signs, and which is kept for all."),
    ({"signal": Decided}, "waits for a signal, which is sent to one saga."),
    ({"signal": Fact}, "which is no Signal and no Fact."),
]


@pytest.mark.parametrize(("given", "sentence"), MISTAKES)
def test_mistakes_are_sentences(given: dict[str, Any], sentence: str) -> None:
    wait: dict[str, Any] = {"signal": InvoicePaid, "key": invoice_of, "of": paid_invoice, "within": DAY, **given}
    with pytest.raises(DeclarationError) as error:
        make_delivery(RESERVED, Wait(wait.pop("signal"), **wait), HANDED)
    assert sentence in str(error.value)


def other_key(fact: InvoicePaid) -> str:
    return fact.payment


def test_all_waits_for_a_type_say_alike_what_it_is_about() -> None:
    longer = Wait(InvoicePaid, key=invoice_of, of=paid_invoice, within=DAY, keep=5 * DAY)
    two = make_delivery(longer, HANDED, name="other")
    services = [Service("stock", commands=(Reserve, Release)), Service("van", commands=(HandOver,))]
    app = App("shop", sagas=[delivery, two], services=services)
    assert app.heard == ["invoice-paid.v1"]
    assert app.awaited["invoice-paid.v1"].keep == 5 * DAY
    unlike = make_delivery(Wait(InvoicePaid, key=invoice_of, of=other_key, within=DAY), HANDED, name="unlike")
    with pytest.raises(DeclarationError, match="says otherwise what InvoicePaid is about than another wait"):
        App("shop", sagas=[delivery, unlike], services=services)


def test_what_a_fact_is_about_is_a_text() -> None:
    awaited = awaited_facts([delivery])["invoice-paid.v1"]
    assert awaited.about(PAYMENT, "c") == "i1"
    with pytest.raises(UsageError, match="of failed with KeyError"):
        awaited.about(InvoicePaid(invoice="i1", payment="broken"), "c")
    plain = awaited_facts([make_delivery(Wait(InvoicePaid, key=invoice_of, within=DAY), HANDED)])["invoice-paid.v1"]
    assert plain.about(PAYMENT, "c") == "c"
    counted: Any = Wait(InvoicePaid, key=invoice_of, of=lambda _: 3, within=DAY)
    assert awaited_facts([make_delivery(counted, HANDED)])["invoice-paid.v1"].about(PAYMENT, "c") == "3"
    numbered: Any = Wait(InvoicePaid, key=invoice_of, of=lambda _: 3.5, within=DAY)  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="of returned float, not a text"):
        awaited_facts([make_delivery(numbered, HANDED)])["invoice-paid.v1"].about(PAYMENT, "c")


def test_picture_words_and_fingerprint_say_it() -> None:
    said = "waits for InvoicePaid about invoice_of, for 3 days, 0:00:00"
    assert f's1(("invoice_paid<br/>{said}"))' in mermaid(delivery)
    assert f"  invoice_paid: {said}; then it is undone" in outline(delivery)
    lines = delivery.fingerprint.text.splitlines()
    assert lines[lines.index("invoice_paid: wait") + 1] == "  for invoice-paid, about (order)"

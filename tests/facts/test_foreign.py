"""Facts of producers that know nothing of choros: read as they are, handled once, rubbish parked with a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from choros.app.app import App
from choros.app.foreign import ForeignFact, ForeignFacts
from choros.app.program import Program
from choros.app.service import Service
from choros.errors import BrokerMisconfigured, DeclarationError, MessageRejected
from choros.messages import Fact
from choros.roles.addresses import Addresses
from choros.roles.process import run_role
from choros.runtime.foreign.translator import Translator
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Transaction
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.transport.topology import Exchange, Topology
from choros.wire.envelope import Envelope, Wire
from choros.wire.foreign import ForeignMessage
from tests.facts.stage import World, eventually, world

NOW = 1_700_000_000.0
THEIRS = "billing.events"
QUEUE = "shop.facts.foreign.billing"
PAID = "com.example.invoice.paid"


class InvoicePaid(Fact, name="foreign.invoice-paid"):
    invoice: str
    cents: int


BILLING = ForeignFacts("billing", exchange=THEIRS, events={PAID: InvoicePaid})


def binary(prefix: str = "cloudEvents_", body: bytes = b'{"invoice":"i1","cents":4200}', **more: Any) -> Wire:
    attributes = {"specversion": "1.0", "id": "e1", "source": "/billing", "type": PAID} | more
    named = {f"{prefix}{name}": value for name, value in attributes.items() if value is not None}
    return Wire(body, named, "application/json")


def structured(**more: Any) -> Wire:
    event = {
        "specversion": "1.0", "id": "e1", "source": "/billing", "type": PAID,
        "data": {"invoice": "i1", "cents": 4200, "currency": "EUR"},
    }  # fmt: skip
    return Wire(json.dumps(event | more).encode(), {}, "application/cloudevents+json; charset=utf-8")


def read(wire: Wire, foreign: ForeignFacts = BILLING) -> Envelope | None:
    return foreign.envelope(ForeignMessage.of(wire, THEIRS), "shop", NOW)


# --- what is read ---


@pytest.mark.parametrize("wire", [binary(), binary("cloudEvents:"), binary("ce-"), structured()])
def test_an_event_of_theirs_is_a_fact_with_an_identity_of_its_own(wire: Wire) -> None:
    fact = read(wire)
    assert fact
    assert (fact.kind, fact.type, fact.source) == ("fact", InvoicePaid.type_name, "/shop/foreign/billing")
    assert (fact.data, fact.time, fact.causation_id) == ('{"invoice":"i1","cents":4200}', NOW, "e1")
    assert (fact.stream, fact.seq) == (fact.id, 1)


def test_source_and_id_are_the_identity_and_nothing_else() -> None:
    first, again = read(binary()), read(structured(time="2026-11-22T12:00:00Z", subject="i1"))
    others = [read(binary(id="e2")), read(binary(source="/billing/eu")), read(binary(id="1", source="/billinge"))]
    elsewhere = ForeignFacts("invoices", exchange=THEIRS, events={PAID: InvoicePaid})
    others.append(read(binary(), elsewhere))
    assert first
    assert again
    assert first.stream == again.stream
    assert len({first.stream, *(one.stream for one in others if one)}) == 5


def test_what_an_event_says_besides_is_kept() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    fact = read(structured(time="2026-11-22T12:00:00.5Z", subject="i1", correlationid="s1", traceparent=trace))
    assert fact
    assert fact.time == datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC).timestamp()
    assert (fact.subject, fact.correlation_id, fact.traceparent) == ("i1", "s1", trace)


def test_a_type_that_nobody_named_is_nothing_to_us() -> None:
    assert read(binary(type="com.example.invoice.sent", body=b"<xml/>")) is None


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (Wire(b"{}", {}), "no CloudEvent of specversion 1.0"),
        (binary(id=None), "lacks id"),
        (binary(source="a\nb"), "source has no acceptable value"),
        (structured(time="yesterday"), "time has no acceptable value"),
        (binary(body=b'{"invoice":7}'), "The body is no foreign.invoice-paid.v1"),
        (binary(body=b"\xff"), "not UTF-8"),
        (Wire(b"[1", {}, "application/cloudevents+json"), "The body is not JSON"),
        (Wire(b"x" * 1_100_000, {}), "larger than"),
    ],
)
def test_rubbish_is_told_in_a_sentence_that_repeats_nothing_of_it(wire: Wire, said: str) -> None:
    with pytest.raises(MessageRejected, match=said) as told:
        read(wire)
    assert "yesterday" not in str(told.value)


# --- by a mapping of the user's ---


def from_celery(message: ForeignMessage) -> ForeignFact | None:
    """A task of theirs: its arguments are the body, its name and id are headers."""
    if message.headers.get("task") != "billing.paid":
        return None
    (invoice, cents), _, _ = message.json
    return ForeignFact(InvoicePaid(invoice=invoice, cents=cents), id=message.headers["id"], source="celery")


def by_celery(task: str = "billing.paid", body: Any = (["i1", 4200], {}, {})) -> Wire:
    headers = {"lang": "py", "task": task, "id": "t1", "retries": 0}
    return Wire(json.dumps(body).encode(), headers, "application/json", correlation_id="t1")


CELERY = ForeignFacts("celery", exchange="celery", facts=(InvoicePaid,), read=from_celery)


def test_a_message_of_another_kind_is_read_by_a_function() -> None:
    fact = read(by_celery(), CELERY)
    assert fact
    assert (fact.data, fact.causation_id, fact.time) == ('{"invoice":"i1","cents":4200}', "t1", NOW)
    assert read(by_celery("billing.sent"), CELERY) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([["i1"], {}, {}], r"from_celery could not read it \(ValueError\)"),
        ([["secret", "x"], {}, {}], r"from_celery could not read it \(ValidationError\)"),
        (7, r"from_celery could not read it \(TypeError\)"),
    ],
)
def test_what_a_function_cannot_read_is_parked_and_not_repeated(body: Any, said: str) -> None:
    with pytest.raises(MessageRejected, match=said) as told:
        read(by_celery(body=body), CELERY)
    assert "secret" not in str(told.value)


PAID_FACT = InvoicePaid(invoice="i1", cents=1)


class Unnamed(Fact, name="foreign.unnamed"):
    pass


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("nonsense", "no ForeignFact with one of the declared facts"),
        (ForeignFact(Unnamed(), id="1", source="s"), "no ForeignFact with one of the declared facts"),
        (ForeignFact(PAID_FACT, id="", source="s"), "The id of it is no text"),
        (ForeignFact(PAID_FACT, id="1", source=7), "The source of it is no text"),  # type: ignore[arg-type]
        (ForeignFact(PAID_FACT, id="1", source="s", time=datetime(2026, 1, 1)), "has no zone"),  # noqa: DTZ001
        (ForeignFact(PAID_FACT, id="1", source="s", subject="a\nb"), "cannot be published"),
    ],
)
def test_what_a_function_may_not_make(made: Any, said: str) -> None:
    foreign = ForeignFacts("billing", exchange=THEIRS, facts=(InvoicePaid,), read=lambda message: made)
    with pytest.raises(MessageRejected, match=said):
        read(Wire(b"{}", {}), foreign)


def test_a_function_may_say_by_itself_what_is_wrong() -> None:
    def refuse(message: ForeignMessage) -> ForeignFact | None:
        raise MessageRejected("It has no amount.")

    foreign = ForeignFacts("billing", exchange=THEIRS, facts=(InvoicePaid,), read=refuse)
    with pytest.raises(MessageRejected, match="It has no amount"):
        read(Wire(b"{}", {}), foreign)


# --- the declaration ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "say either which events are which facts, or how to read them"),
        ({"events": {PAID: InvoicePaid}, "read": from_celery}, "say either"),
        ({"read": from_celery}, "say either"),
        ({"facts": (InvoicePaid,)}, "say either"),
        ({"events": {PAID: int}}, "is no Fact"),
        ({"events": {PAID: InvoicePaid}, "create": "headers"}, "create='headers'"),
        ({"events": {PAID: InvoicePaid}, "keys": "#"}, "keys"),
    ],
)
def test_what_is_no_declaration(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        ForeignFacts("billing", exchange=THEIRS, **options)


@pytest.mark.parametrize("name", ["facts", "Billing", "a.b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(DeclarationError, match="that is no name"):
        ForeignFacts(name, exchange=THEIRS, events={PAID: InvoicePaid})


@pytest.mark.parametrize(
    "options", [{"name": "billing"}, {"services": [Service("billing", publishes=(InvoicePaid,))]},
                {"programs": [Program("billing", publishes=(InvoicePaid,))]}]
)  # fmt: skip
def test_they_are_not_called_as_one_of_ours_who_publishes(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="foreign 'billing' publishes facts, and"):
        App("shop", foreign=[BILLING], **options)


# --- on a broker ---


@dataclass
class Seen:
    paid: list[str] = field(default_factory=list)


def book(seen: Seen) -> Service:
    service = Service("ledger")

    @service.on(InvoicePaid)
    async def note(fact: InvoicePaid, db: Transaction) -> None:
        seen.paid.append(fact.invoice)

    return service


@contextlib.asynccontextmanager
async def translating(broker: MemoryBroker) -> AsyncIterator[Translator]:
    transport = MemoryTransport(broker, "shop")
    await transport.connect()
    translator = Translator(BILLING, namespace="shop", transport=transport, clock=lambda: NOW)
    running = asyncio.create_task(translator.run())
    try:
        yield translator
    finally:
        await translator.stop()
        await running
        await transport.close()


@contextlib.asynccontextmanager
async def stage(seen: Seen) -> AsyncIterator[tuple[MemoryBroker, World, Subscriber]]:
    broker = MemoryBroker()
    async with world(lambda: MemoryTransport(broker, "shop")) as made:
        broker.declare(Topology("shop", (Exchange(THEIRS, "topic"),)))
        broker.declare(BILLING.exchange.ours(made.names))
        broker.declare(BILLING.exchange.theirs(made.names))
        yield broker, made, await made.start(book(seen))


async def test_what_they_publish_is_handled_once_however_often_they_do() -> None:
    seen = Seen()
    async with stage(seen) as (broker, _, subscriber), translating(broker) as translator:
        for wire in (binary(), structured(), binary(id="e2"), binary(type="other")):
            assert broker.publish(THEIRS, "invoice.paid", wire) is Published.CONFIRMED
        await eventually("all are settled", lambda: subscriber.counts == {"handled": 2, "repeated": 1})
        assert translator.counts == {"translated": 3, "passed": 1}
        assert seen.paid == ["i1", "i1"]
        await eventually("none is left", lambda: not broker.waiting(QUEUE))


async def test_what_cannot_be_read_is_parked_with_a_sentence_and_holds_up_nothing() -> None:
    seen = Seen()
    async with stage(seen) as (broker, _, subscriber), translating(broker) as translator:
        broker.publish(THEIRS, "", Wire(b"rubbish", {}))
        broker.publish(THEIRS, "", binary())
        await eventually("the other is handled", lambda: subscriber.counts == {"handled": 1})
        await eventually("it is parked", lambda: bool(broker.waiting(f"{QUEUE}.dead")))
        (parked,) = broker.waiting(f"{QUEUE}.dead")
        assert parked.headers["x-choros-reason"].startswith("The message is no CloudEvent")
        assert parked.headers["x-choros-exchange"] == THEIRS
        assert translator.counts == {"translated": 1, "parked": 1}


async def test_what_is_put_back_is_read_again() -> None:
    seen = Seen()
    async with stage(seen) as (broker, made, subscriber), translating(broker):
        broker.publish(made.names.retry, QUEUE, binary())
        await eventually("it is handled", lambda: subscriber.counts == {"handled": 1})


async def test_what_does_not_leave_is_published_again_and_stays_until_then() -> None:
    seen = Seen()
    async with stage(seen) as (broker, _, subscriber), translating(broker) as translator:
        transport, answers = translator._transport, [Published.UNKNOWN, Published.NACKED]

        async def publish(facts: Any) -> Any:
            if answers:
                return [answers.pop() for _ in facts]
            return await MemoryTransport.publish(transport, facts)  # type: ignore[arg-type]

        transport.publish = publish  # type: ignore[method-assign]
        broker.publish(THEIRS, "", binary())
        await eventually("it is handled", lambda: subscriber.counts == {"handled": 1})
        assert translator.counts == {"translated": 1}


async def test_a_role_says_that_their_exchange_is_not_there() -> None:
    app = App("shop", foreign=[BILLING])
    with pytest.raises(BrokerMisconfigured, match=r"no foreign facts 'billing' to be had.*create='topic'"):
        await run_role(app, "foreign:billing", Addresses("memory://"))


async def test_a_role_creates_their_exchange_if_it_is_told_to() -> None:
    made = ForeignFacts("billing", exchange=THEIRS, events={PAID: InvoicePaid}, create="topic")
    begun = asyncio.Event()
    app = App("shop", foreign=[made])
    role = run_role(app, "foreign:billing", Addresses("memory://own"), begun=lambda *_: begun.set())
    running = asyncio.create_task(role)
    await asyncio.wait({running, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert begun.is_set()
    running.cancel()
    await asyncio.wait({running})

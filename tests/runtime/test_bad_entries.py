"""One bad entry never holds the others: in a batch of starts, of messages to send, of whatever people ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import JsonValue

from choros.app.app import App
from choros.app.service import Service
from choros.errors import MessageUnwritable, OutcomePending, SagaNotFound, UsageError
from choros.messages import Command, Done, Message, Reply
from choros.roles.addresses import Addresses
from choros.roles.roles import running
from choros.runtime.client.client import Client
from choros.saga.nodes import Pivot
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Channel, Record, Transition, Unsent
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.wire.attributes import MAX_DEPTH
from choros.wire.envelope import Envelope, decode, encode, is_sendable, why_unreadable
from tests.relays import outgoing, saga_relay
from tests.runtime.participant_stage import eventually

ONCE = RetryPolicy(attempts=1)
NESTED: Any = 1
for _ in range(MAX_DEPTH):
    NESTED = [NESTED]


class Go(Message):
    id: str
    how: str = ""
    given: JsonValue = None


class Asked(Command[Done]):
    given: JsonValue = None
    number: int = 0
    text: str = ""


class Told(Reply):
    given: JsonValue = None


class Ask(Command[Told]):
    how: str = ""


def asked(go: Go) -> Asked:
    match go.how:
        case "deep":
            return Asked(given=NESTED)
        case "digits":
            return Asked(number=10**4400)
        case "large":
            return Asked(text="x" * 2**20)
        case "surrogate":
            return Asked(text="\ud800")
        case _:
            return Asked()


def ask(go: Go) -> Ask:
    return Ask(how=go.how)


service = Service("svc")


@service.handles(Asked)
async def done(command: Asked) -> Done:
    return Done()


@service.handles(Ask)
async def told(command: Ask) -> Told:
    return Told(given=NESTED if command.how == "deep" else None)


built = Saga("built", start=Go, key=lambda go: go.id, steps=(Pivot(asked, to="svc"),))
answered = Saga("answered", start=Go, key=lambda go: go.id, steps=(Pivot(ask, to="svc", retry=ONCE),))
app = App("bad", sagas=[built, answered], services=[service])
BAD = ["deep", "digits", "large", "surrogate"]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running(app, Addresses("memory://", "memory://", "memory://")) as running_client:
        yield running_client


async def test_what_nobody_could_read_parks_its_saga_and_no_other(client: Client) -> None:
    starts = [Go(id=f"{how or 'good'}{number}", how=how) for number in range(3) for how in (*BAD, "")]
    outcomes = await asyncio.gather(*(client.run(built, go) for go in starts))
    for go, outcome in zip(starts, outcomes, strict=True):
        assert outcome.status == ("parked" if go.how else "completed")
        assert ("asked built" in outcome.parked) is bool(go.how)


@pytest.mark.parametrize("bad", [Go(id="1", given=NESTED), Go(id="x" * 2**20), Go(id="\ud800")], ids=["a", "b", "c"])
async def test_a_start_that_nobody_could_read_is_refused_with_a_sentence(client: Client, bad: Go) -> None:
    with pytest.raises((UsageError, MessageUnwritable)):
        await client.start(built, bad, key="1")
    assert (await client.run(built, Go(id="1"))).status == "completed"


async def test_a_reply_that_nobody_could_read_is_a_failure_of_its_handler(client: Client) -> None:
    deep, good = await asyncio.gather(*(client.run(answered, Go(id=f"1{how}", how=how)) for how in ("deep", "")))
    assert (deep.status, good.status) == ("parked", "completed")
    assert "MessageUnwritable" in deep.parked


@pytest.mark.parametrize("tracestate", ["x" * 513, "x" * 5000, "a=\n", "\ud800", ""])
@pytest.mark.parametrize("traceparent", ["nonsense", "\ud800", "x" * 10_000, "00-" + "1" * 32 + "-" + "1" * 16 + "-01"])
async def test_a_trace_that_nobody_takes_stops_no_saga(client: Client, traceparent: str, tracestate: str) -> None:
    saga_id = await client.start(built, Go(id="1"), traceparent=traceparent, tracestate=tracestate)
    assert (await client.wait(saga_id)).status == "completed"


def test_a_trace_that_an_older_choros_has_stored_is_left_out() -> None:
    sent = envelope("c1", tracestate="x" * 9000, traceparent="nonsense")
    read = decode(encode(sent))
    assert (read.traceparent, read.tracestate) == ("", "")


@pytest.mark.parametrize("saga_id", ["", "\ud800", "x" * 5000, "a\nb", "\0", None, 7])
async def test_an_id_that_no_store_could_look_for_is_the_id_of_no_saga(client: Client, saga_id: Any) -> None:
    for verb in (client.cancel, client.pause, client.resume, client.outcome, client.show, client.why_stuck):
        with pytest.raises(SagaNotFound):
            await verb(saga_id)
    with pytest.raises(SagaNotFound):
        await client.wait(saga_id)
    assert (await client.run(built, Go(id="1"))).status == "completed"


async def test_a_wait_of_no_time_does_not_wait(client: Client) -> None:
    saga_id = await client.start(built, Go(id="1"))
    with pytest.raises(OutcomePending):
        await client.wait(saga_id, timeout=timedelta(0))
    assert (await client.wait(saga_id, timeout=timedelta.max)).status == "completed"
    with pytest.raises(UsageError, match="no timedelta"):
        await client.wait(saga_id, timeout=5)  # type: ignore[arg-type] # a user's mistake


# --- on the way out ---------------------------------------------------------------------------------------------------


def envelope(one: str, **more: Any) -> Envelope:
    return Envelope(
        id=one, kind="command", type="asked.v1", source="/bad/bad", time=1.8e9, data="{}", to="svc",
        correlation_id=one, key=f"{one}:asked:1:do", saga="built", saga_version=1, step="asked", attempt=1, **more,
    )  # fmt: skip


UNSENDABLE: list[dict[str, Any]] = [dict(not_after=9e13), dict(subject="\ud800"), dict(subject="x" * 9000)]


@pytest.mark.parametrize("fault", [*UNSENDABLE, dict(key="")], ids=str)
def test_what_cannot_be_sent_is_told_apart(fault: dict[str, Any]) -> None:
    assert is_sendable(replace(envelope("c1"), **fault)) is (fault == dict(key=""))


@pytest.mark.parametrize("body", ['{"a":1}', "[" * MAX_DEPTH + "]" * MAX_DEPTH, f'"{"9" * 5000}"', '"[[[["'])
def test_what_a_receiver_takes_has_no_fault(body: str) -> None:
    assert why_unreadable(body) == ""


@pytest.mark.parametrize("kind", ["command", "fact"])
async def test_a_transport_sends_the_others(kind: Any) -> None:
    transport = MemoryTransport(MemoryBroker(), "bad")
    await transport.connect()
    await transport.declare(app.topology)
    bad = replace(envelope("c1"), kind=kind, not_after=9e13, stream="a", seq=1)
    good = replace(envelope("c2"), kind=kind, stream="b", seq=1)
    put = transport.send if kind == "command" else transport.publish
    first, second = await put([bad, good])
    assert first is Published.NACKED
    assert second in (Published.CONFIRMED, Published.RETURNED)
    await transport.close()


class Fragile:
    """A transport that breaks over one message, and with it everything that came beside it."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def publish(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        if any(message.id.startswith("bad") for message in messages):
            raise RuntimeError
        self.taken += [message.id for message in messages]
        return [Published.CONFIRMED] * len(messages)


def entry(channel: Channel, saga_id: str, one: Envelope) -> Unsent:
    return Unsent(one.id, channel, one.dumps(), saga_id, one)


async def test_a_relay_whose_transport_breaks_over_one_sends_the_others() -> None:
    fragile = Fragile()
    relay = saga_relay("commands", fragile.publish, MemoryStore())
    relay.dispatch(outgoing([entry("commands", one, envelope(one)) for one in ("a", "bad", "b")]))
    await eventually(lambda: sorted(fragile.taken) == ["a", "b"])


async def test_a_fact_does_not_overtake_the_one_that_broke_its_transport() -> None:
    fragile = Fragile()
    relay = saga_relay("facts", fragile.publish, MemoryStore())
    pairs = [("s", "s1"), ("s", "bad2"), ("s", "s3"), ("t", "t1")]
    relay.dispatch(outgoing([entry("facts", saga, envelope(one)) for saga, one in pairs]))
    await eventually(lambda: sorted(fragile.taken) == ["s1", "t1"])


async def test_what_can_never_be_sent_is_named_and_holds_back_no_timer() -> None:
    store = MemoryStore()
    await store.open()
    bad = envelope("c1", not_after=9e13)
    record = Record(
        saga_id="s", saga="built", saga_version=1, key="k", digest="d", application="bad", version=1, transition="t",
        status="running", state="{}", started_at=1.0, updated_at=1.0,
    )  # fmt: skip
    await store.commit([Transition(record, outbox=(entry("commands", "s", bad),))])
    transport = MemoryTransport(MemoryBroker(), "bad")
    await transport.connect()
    relay = saga_relay("commands", transport.send, store, resend_after=0.0)
    relay.dispatch(outgoing([entry("commands", "s", bad)]))
    await eventually(lambda: list(relay.unreadable) == ["c1"])
    await relay._scan()
    assert list(relay.unreadable) == ["c1"]

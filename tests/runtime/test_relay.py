"""The relay alone, with a publisher that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from choros.envelope import Envelope
from choros.runtime import relay
from choros.runtime.relay import Relay
from choros.store.memory import MemoryStore
from choros.store.port import Channel, Entry, Record, Transition
from choros.transport.port import Published
from tests.patience import PATIENCE


def entry(channel: Channel, saga_id: str, entry_id: str, to: str = "payment") -> Entry:
    envelope = Envelope(id=entry_id, kind="command", type="t.v1", source="/s", time=1.0, data="{}", to=to)
    return Entry(entry_id, channel, envelope.dumps(), saga_id)


def creation(saga_id: str, *entries: Entry) -> Transition:
    record = Record(
        saga_id=saga_id, saga="order", saga_version=1, key=saga_id, digest="d", application="a", version=1,
        transition=f"t-{saga_id}", status="running", state="{}", started_at=1.0, updated_at=1.0,
    )  # fmt: skip
    return Transition(record, outbox=entries)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    made = MemoryStore()
    await made.open()
    yield made
    await made.close()


async def until(what: object, seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not (callable(what) and what()):
            await asyncio.sleep(0.005)


async def test_facts_that_come_again_go_before_those_that_wait(store: MemoryStore) -> None:
    """The first did not leave; the second was decided meanwhile and waits for the only slot."""
    left: list[str] = []
    release, fates = asyncio.Event(), [Published.UNKNOWN]

    async def publish(facts: Sequence[Envelope]) -> Sequence[Published]:
        if facts[0].id == "other":
            await release.wait()
        left.extend(fact.id for fact in facts)
        return [fates.pop() if fates else Published.CONFIRMED for _ in facts]

    facts = Relay("facts", publish, store)
    facts.dispatch([entry("facts", "s1", "first")])
    await until(lambda: left == ["first"])
    facts.dispatch([entry("facts", "s2", "other")])
    await asyncio.sleep(0.01)
    facts.dispatch([entry("facts", "s1", "second")])
    facts._again()
    release.set()
    await until(lambda: len(left) == 4)
    assert [fact for fact in left if fact != "other"] == ["first", "first", "second"]


async def test_the_scan_looks_past_commands_that_nobody_takes(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SCAN_LIMIT", 5)
    sick = [creation(f"s{n}", entry("commands", f"s{n}", f"sick-{n}", "nobody")) for n in range(12)]
    await store.commit([*sick, creation("well", entry("commands", "well", "healthy"))])
    taken: list[str] = []

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        taken.extend(message.id for message in messages if message.to == "payment")
        return [Published.CONFIRMED if message.to == "payment" else Published.RETURNED for message in messages]

    commands = Relay("commands", publish, store, scan_every=0.01, resend_after=0.0)
    running = asyncio.create_task(commands.run())
    try:
        await until(lambda: taken)
        assert taken[0] == "healthy"
    finally:
        running.cancel()


async def test_a_publisher_that_breaks_loses_nothing(store: MemoryStore) -> None:
    await store.commit([creation("s1", entry("commands", "s1", "c1"))])
    calls: list[str] = []

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        calls.extend(message.id for message in messages)
        if len(calls) == 1:
            raise RuntimeError
        return [Published.CONFIRMED for _ in messages]

    commands = Relay("commands", publish, store, scan_every=0.01, resend_after=0.0)
    running = asyncio.create_task(commands.run())
    try:
        await until(lambda: calls == ["c1", "c1"])
    finally:
        running.cancel()


@pytest.mark.parametrize(("channel", "leaves"), [("facts", True), ("commands", False)])
async def test_what_no_queue_takes_counts_as_sent_only_if_it_is_a_fact(
    store: MemoryStore, channel: Channel, leaves: bool
) -> None:
    await store.commit([creation("s1", entry(channel, "s1", "e1"))])

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        return [Published.RETURNED for _ in messages]

    sending = Relay(channel, publish, store)
    sending.dispatch(await store.unsent(channel, 9e9, 10))
    await sending.close(1.0)
    assert bool(await store.unsent(channel, 9e9, 10)) is not leaves


async def test_commands_to_a_destination_that_does_not_answer_take_no_others_place(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PLACE_SECONDS", 0.01)
    never, left = asyncio.Event(), list[str]()

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        if any(message.to == "nobody" for message in messages):
            await never.wait()
        left.extend(message.id for message in messages)
        return [Published.CONFIRMED for _ in messages]

    commands = Relay("commands", publish, store, concurrency=2)
    for number in range(5):
        commands.dispatch([entry("commands", f"s{number}", f"stuck-{number}", "nobody")])
        await asyncio.sleep(0)  # a batch of its own
    await until(lambda: not commands._waiting)
    commands.dispatch([entry("commands", "well", "healthy")])
    await until(lambda: left == ["healthy"])
    never.set()
    await until(lambda: len(left) == 6)
    assert commands._slots._value == 2  # each place was given back once

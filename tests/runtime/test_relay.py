"""The relay alone, with a publisher that the test plays."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
import uvloop

from choros.runtime.host import relay as relay_module
from choros.runtime.host.outgoing import REPLIES, Outgoing
from choros.runtime.host.pacing import MOST_SECONDS, TELL_EVERY
from choros.runtime.host.relay import Relay
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Channel, Record, Transition, Unsent
from choros.transport.port import Published
from choros.wire.envelope import Envelope
from tests.captured import capture_logs
from tests.patience import PATIENCE
from tests.relays import outgoing, saga_relay

MOST = max(MOST_SECONDS.values())


def entry(channel: Channel, saga_id: str, entry_id: str, to: str = "payment") -> Unsent:
    envelope = Envelope(id=entry_id, kind="command", type="t.v1", source="/s", time=1.0, data="{}", to=to)
    return Unsent(entry_id, channel, envelope.dumps(), saga_id)


def creation(saga_id: str, *entries: Unsent) -> Transition:
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


class Clock:
    """Stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Street:
    """Everybody to whom commands go, and what each does with them."""

    def __init__(self) -> None:
        self.fates: dict[str, Published] = {}
        """By destination or by message; all others take what comes."""
        self.came: Counter[str] = Counter()
        """Messages, also those that nobody took."""

    async def publish(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        self.came.update(message.id for message in messages)
        return [self.fates.get(message.id, self.fates.get(message.to, Published.CONFIRMED)) for message in messages]


class Shift:
    """A relay whose turns the test counts: one a second, as `Relay.run` has it."""

    def __init__(self, channel: Channel, store: MemoryStore, street: Street) -> None:
        self.clock = Clock()
        self.relay = saga_relay(channel, street.publish, store, resend_after=0.0, clock=self.clock)

    async def work(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now += 1.0
            self.relay._complaints.tell()
            self.relay._again()
            await self.relay.flush()
            await self.relay._scan()
            while self.relay._tasks:
                await asyncio.wait(set(self.relay._tasks))


async def until(what: object, seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not (callable(what) and what()):
            await asyncio.sleep(0.005)


def test_on_uvloop_what_should_have_been_marked_before_it_left_is_marked_and_holds_nobody() -> None:
    """There the handle of a timer whose moment has passed does not know that moment."""

    async def overdue() -> None:
        store, sagas = MemoryStore(), ("s1", "s2", "s3")
        await store.open()
        await store.commit([creation(saga, entry("facts", saga, f"fact of {saga}")) for saga in sagas])

        async def publish(facts: Sequence[Envelope]) -> Sequence[Published]:
            await asyncio.sleep(0.05)
            return [Published.CONFIRMED] * len(facts)

        relay = saga_relay("facts", publish, store)
        entries = [entry("facts", saga, f"fact of {saga}") for saga in sagas]
        relay.dispatch(outgoing(entries), mark_within=0.001)
        async with asyncio.timeout(PATIENCE):
            while await store.unsent("facts", store.now() + 60, 9):
                await asyncio.sleep(0.01)
        await relay.close(PATIENCE)

    uvloop.run(overdue())


async def test_facts_that_come_again_go_before_those_that_wait(store: MemoryStore) -> None:
    """The first did not leave; the second was decided meanwhile and waits for the only slot."""
    left: list[str] = []
    release, fates = asyncio.Event(), [Published.UNKNOWN]

    async def publish(facts: Sequence[Envelope]) -> Sequence[Published]:
        if facts[0].id == "other":
            await release.wait()
        left.extend(fact.id for fact in facts)
        return [fates.pop() if fates else Published.CONFIRMED for _ in facts]

    clock = Clock()
    facts = saga_relay("facts", publish, store, clock=clock)
    facts.dispatch(outgoing([entry("facts", "s1", "first")]))
    await until(lambda: left == ["first"])
    clock.now += MOST
    facts.dispatch(outgoing([entry("facts", "s2", "other")]))
    await asyncio.sleep(0.01)
    facts.dispatch(outgoing([entry("facts", "s1", "second")]))
    facts._again()
    release.set()
    await until(lambda: len(left) == 4)
    assert [fact for fact in left if fact != "other"] == ["first", "first", "second"]


async def test_the_scan_looks_past_commands_that_nobody_takes(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "SCAN_LIMIT", 5)
    sick = [creation(f"s{n}", entry("commands", f"s{n}", f"sick-{n}", "nobody")) for n in range(12)]
    await store.commit([*sick, creation("well", entry("commands", "well", "healthy"))])
    taken: list[str] = []

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        taken.extend(message.id for message in messages if message.to == "payment")
        return [Published.CONFIRMED if message.to == "payment" else Published.RETURNED for message in messages]

    commands = saga_relay("commands", publish, store, scan_every=0.01, resend_after=0.0)
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

    commands = saga_relay("commands", publish, store, scan_every=0.01, resend_after=0.0)
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

    sending = saga_relay(channel, publish, store)
    sending.dispatch(outgoing(await store.unsent(channel, 9e9, 10)))
    await sending.close(1.0)
    assert bool(await store.unsent(channel, 9e9, 10)) is not leaves


async def test_commands_to_a_destination_that_does_not_answer_take_no_others_place(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "PLACE_SECONDS", 0.01)
    never, left = asyncio.Event(), list[str]()

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        if any(message.to == "nobody" for message in messages):
            await never.wait()
        left.extend(message.id for message in messages)
        return [Published.CONFIRMED for _ in messages]

    commands = saga_relay("commands", publish, store, concurrency=2)
    for number in range(5):
        commands.dispatch(outgoing([entry("commands", f"s{number}", f"stuck-{number}", "nobody")]))
        await asyncio.sleep(0)  # a batch of its own
    await until(lambda: not commands._waiting)
    commands.dispatch(outgoing([entry("commands", "well", "healthy")]))
    await until(lambda: left == ["healthy"])
    never.set()
    await until(lambda: len(left) == 6)
    assert commands._places._value == 2  # each place was given back once


@pytest.mark.parametrize("fate", [Published.RETURNED, Published.UNKNOWN, Published.NACKED])
async def test_many_commands_that_nobody_takes_cost_little(store: MemoryStore, fate: Published) -> None:
    """One publish for each, and then about one at a time; and no line in the log for each."""
    street = Street()
    street.fates["nobody"] = fate
    await store.commit([creation(f"s{n}", entry("commands", f"s{n}", f"c{n}", "nobody")) for n in range(300)])
    shift = Shift("commands", store, street)
    with capture_logs() as lines:
        await shift.work(100)
        await shift.relay.close(1.0)
    said = [line for line in lines if line["event"] == "choros.publish.unconfirmed"]
    assert 300 < street.came.total() < 300 + 60
    assert len(said) <= 100 / TELL_EVERY + 2
    assert (sum(line["count"] for line in said), said[0]["to"]) == (street.came.total(), "nobody")


@pytest.mark.parametrize("fate", [Published.RETURNED, Published.UNKNOWN, Published.NACKED])
async def test_all_of_them_leave_soon_once_one_is_taken(store: MemoryStore, fate: Published) -> None:
    street = Street()
    street.fates["nobody"] = fate
    await store.commit([creation(f"s{n}", entry("commands", f"s{n}", f"c{n}", "nobody")) for n in range(300)])
    shift = Shift("commands", store, street)
    await shift.work(100)
    street.fates.clear()
    shift.relay.dispatch(outgoing([entry("commands", "fresh", "fresh", "nobody")]))
    await until(lambda: not shift.relay._tasks)
    await shift.work(2)
    left = await store.unsent("commands", 9e9, 300)
    assert len(left) <= (0 if fate is Published.RETURNED else 40)  # those that were tried last may be at fault
    await shift.work(int(MOST))
    assert not await store.unsent("commands", 9e9, 10)


async def test_without_anything_fresh_they_leave_within_the_longest_pause(store: MemoryStore) -> None:
    street = Street()
    street.fates["nobody"] = Published.RETURNED
    await store.commit([creation(f"s{n}", entry("commands", f"s{n}", f"c{n}", "nobody")) for n in range(30)])
    shift = Shift("commands", store, street)
    await shift.work(100)
    street.fates.clear()
    await shift.work(int(MOST) + 2)
    assert not await store.unsent("commands", 9e9, 10)


async def test_what_does_not_leave_for_long_is_said_less_and_less_often_and_once_when_it_is_over(
    store: MemoryStore,
) -> None:
    street = Street()
    street.fates["nobody"] = Published.NACKED  # as a full queue
    await store.commit([creation("s", entry("commands", "s", "c", "nobody"))])
    shift = Shift("commands", store, street)
    with capture_logs() as lines:
        await shift.work(1800)
        street.fates.clear()
        await shift.work(2 * int(MOST))
        shift.relay.dispatch(outgoing([entry("commands", "later", "later", "nobody")]))
        await shift.work(2)
    lines = [line for line in lines if line["event"].startswith("choros.publish.")]
    said = [(line["event"], line["to"]) for line in lines]
    assert said[-1] == ("choros.publish.leaves_again", "nobody")
    assert 4 <= said.count(("choros.publish.unconfirmed", "nobody")) == len(said) - 1 <= 9
    assert lines[-1]["seconds"] > 1700


async def test_a_command_that_is_itself_at_fault_holds_no_other_up_and_is_seldom_tried(store: MemoryStore) -> None:
    """It stays the oldest, and a command to the same service leaves every second."""
    street = Street()
    street.fates |= {"bad": Published.NACKED, "worse": Published.UNKNOWN}
    await store.commit([creation(name, entry("commands", name, name)) for name in ("bad", "worse")])
    shift = Shift("commands", store, street)
    for n in range(60):
        await store.commit([creation(f"s{n}", entry("commands", f"s{n}", f"good-{n}"))])
        await shift.work(1)
    await shift.work(int(MOST))
    assert all(street.came[f"good-{n}"] == 1 for n in range(60))
    assert street.came["bad"] < 20 and street.came["worse"] < 40


@pytest.mark.parametrize("fate", [Published.UNKNOWN, Published.NACKED])
async def test_facts_that_do_not_leave_cost_little_and_keep_their_order(store: MemoryStore, fate: Published) -> None:
    street = Street()
    street.fates[""] = fate
    sagas = [creation(f"s{n}", *(entry("facts", f"s{n}", f"f{n}-{k}", "") for k in "ab")) for n in range(100)]
    await store.commit(sagas)
    shift = Shift("facts", store, street)
    with capture_logs() as lines:
        await shift.work(100)
    assert 200 <= street.came.total() < 200 + 2 * 60
    assert len([line for line in lines if line["event"] == "choros.publish.unconfirmed"]) <= 100 / TELL_EVERY + 2
    before = street.came.copy()
    street.fates.clear()
    await shift.work(int(MOST) + 3)
    assert not await store.unsent("facts", 9e9, 10)
    again = list(street.came - before)
    assert all(again.index(f"f{n}-a") < again.index(f"f{n}-b") for n in range(100))


async def test_a_kind_of_fact_that_nobody_takes_delays_no_other(store: MemoryStore) -> None:
    """A queue that wants some types alone may be full; one fact of another type has met a lost connection."""

    def told(saga_id: str, type_name: str) -> Transition:
        envelope = Envelope(id=saga_id, kind="fact", type=type_name, source="/s", time=1.0, data="{}")
        return creation(saga_id, Unsent(saga_id, "facts", envelope.dumps(), saga_id))

    street = Street()
    street.fates |= {f"s{n}": Published.NACKED for n in range(100)} | {"well": Published.UNKNOWN}
    await store.commit([*(told(f"s{n}", "full.v1") for n in range(100)), told("well", "well.v1")])
    shift = Shift("facts", store, street)
    await shift.work(60)
    del street.fates["well"]
    await shift.work(int(MOST_SECONDS[Published.UNKNOWN]) + 2)
    assert "well" not in {left.id for left in await store.unsent("facts", 9e9, 200)}


async def test_who_does_not_scan_keeps_no_account_of_commands_that_did_not_leave(store: MemoryStore) -> None:
    """A client starts sagas for as long as it lives, and orchestrators send what it could not."""
    street = Street()
    street.fates["payment"] = Published.UNKNOWN
    relay = saga_relay("commands", street.publish, store, scan_every=1.0)
    running = asyncio.create_task(relay.run(scan=False))
    relay.dispatch(outgoing([entry("commands", f"s{n}", f"c{n}") for n in range(100)]))
    await until(lambda: street.came.total() == 100)
    await asyncio.sleep(2.0)
    running.cancel()
    assert (len(relay._failing), len(relay._held)) == (0, 0)


class SlowBooks:
    """An outbox that takes its time to note what has left."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.marks: list[int] = []
        """How many at a time."""

    async def unsent(self, limit: int) -> Sequence[Outgoing]:
        return ()

    async def mark_sent(self, left: Sequence[tuple[str, str]]) -> None:
        self.marks.append(len(left))
        await self.opened.wait()


async def test_replies_that_leave_while_others_are_marked_are_marked_together_and_pile_nothing_up() -> None:
    books, street, told = SlowBooks(), Street(), Counter[str]()
    relay = Relay(REPLIES, street.publish, books)
    reply = Envelope.loads(entry("commands", "s", "r").envelope)
    before = len(asyncio.all_tasks())
    for number in range(100):
        relay.dispatch([Outgoing(f"r{number}", f"r{number}", lambda: reply, lambda why: told.update([why]))])
        async with asyncio.timeout(PATIENCE):
            while told[""] <= number:
                await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) - before <= 3
    books.opened.set()
    await relay.close(PATIENCE)
    assert books.marks == [1, 99]

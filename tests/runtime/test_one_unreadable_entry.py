"""One stored thing that nobody here can read, because a newer choros wrote it or somebody has changed it: it is named,
it stays where it is, and nothing else stops for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Transition, Unsent
from choros.testing.conformance.records import a_record
from choros.transport.memory import MemoryBroker
from choros.transport.port import Published
from choros.wire.envelope import Envelope
from tests.captured import capture_logs
from tests.relays import outgoing, saga_relay
from tests.runtime.parcel import at_work, begun, ended, until

# --- reading one envelope ---------------------------------------------------------------------------------------------

WHOLE = Envelope(
    id="e1", kind="command", type="weigh.v1", source="/shop/shop", time=1.5, data="{}", to="scales", subject="o1",
    correlation_id="s1", causation_id="c1", key="s1:weigh:1:do", saga="parcel", saga_version=1, step="weigh", attempt=1,
    outcome="ok", undone='["a"]', reply_to="shop.replies", not_after=9.5, stream="s1", seq=1, traceparent="t",
    tracestate="u", own_headers='{"h":"v"}', began=0.5, flow="parcel-flow", flow_version=1, flow_id="f1",
)  # fmt: skip
FIELDS = dataclasses.fields(Envelope)
NEEDED = [field.name for field in FIELDS if field.default is dataclasses.MISSING]
WRONG: tuple[object, ...] = (["secret"], {"secret": 1}, True, None, "secret", 7, 1e300)


def test_an_envelope_is_read_as_it_was_written() -> None:
    assert Envelope.loads(WHOLE.dumps()) == WHOLE


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_a_field_with_a_value_of_another_kind_is_an_error(name: str) -> None:
    stored = json.loads(WHOLE.dumps())
    of_its_kind = (str,) if isinstance(stored[name], str) else (int, float)
    wrong = [one for one in WRONG if isinstance(one, bool) or not isinstance(one, of_its_kind)]
    for one in wrong if name not in ("not_after", "began") else [w for w in wrong if w is not None]:
        with pytest.raises(ValueError, match=name) as refused:
            Envelope.loads(json.dumps({**stored, name: one}))
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["kind", "outcome"])
def test_a_word_that_is_none_of_ours_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Envelope.loads(json.dumps({**json.loads(WHOLE.dumps()), name: "progress"}))


@pytest.mark.parametrize("name", NEEDED)
def test_a_field_that_is_needed_and_missing_is_an_error(name: str) -> None:
    stored = json.loads(WHOLE.dumps())
    del stored[name]
    with pytest.raises(ValueError, match=name):
        Envelope.loads(json.dumps(stored))


@pytest.mark.parametrize("name", ["time", "not_after"])
def test_a_time_that_cannot_be_written_again_is_an_error(name: str) -> None:
    for moment in (1e300, -1e300):
        with pytest.raises(ValueError, match="calendar"):
            Envelope.loads(json.dumps({**json.loads(WHOLE.dumps()), name: moment}))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '{"id": "\\ud800"}', "\x00"])
def test_what_is_no_envelope_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Envelope.loads(text)


def test_a_field_of_a_newer_envelope_is_an_error() -> None:
    with pytest.raises(ValueError, match="priority"):
        Envelope.loads(json.dumps({**json.loads(WHOLE.dumps()), "priority": 3}))


# --- the outbox -------------------------------------------------------------------------------------------------------


WAYS: dict[str, Callable[[dict[str, Any]], object]] = {
    "newer": lambda stored: {**stored, "priority": 3},
    "of another type": lambda stored: {**stored, "attempt": "one"},
    "lacking": lambda stored: {name: value for name, value in stored.items() if name != "kind"},
    "no object": lambda stored: [stored],
    "beyond time": lambda stored: {**stored, "not_after": 1e300},
}
"""How an entry may have become unreadable."""


def spoilt(entry: Unsent, way: str) -> Unsent:
    return Unsent(entry.id, entry.channel, json.dumps(WAYS[way](json.loads(entry.envelope))), entry.saga_id)


@pytest.mark.parametrize("way", WAYS)
async def test_the_others_leave_and_its_own_timer_sends_anew(way: str) -> None:
    store = MemoryStore()
    await store.open()
    well = await begun(store, ["o1", "o2"])
    (sick,) = await begun(store, ["o3"])
    rows = store._rows.outbox
    for pair, waiting in list(rows.items()):
        whole = replace(waiting.message, message=None)
        rows[pair] = replace(waiting, message=spoilt(whole, way) if pair[0] == sick else whole)
    (poison,) = [pair for pair in rows if pair[0] == sick]
    with capture_logs() as logs:
        async with at_work(store, MemoryBroker()) as (client, orchestrator):
            await ended(client, well)
            await until(lambda: orchestrator.decider.unreadable == 1)
            await ended(client, [sick])
            await until(lambda: orchestrator.decider.unreadable == 0)
    named = [one for one in logs if one["event"] == "choros.outbox.unreadable"]
    assert [(one["saga_id"], one["message_id"], one["log_level"]) for one in named] == [(*poison, "error")]
    assert not [one for one in logs if one["event"] == "choros.publish.failed"]


async def test_a_fact_waits_behind_one_of_its_own_saga_only() -> None:
    store = MemoryStore(clock=lambda: 0.0)
    await store.open()

    def entry(saga_id: str, number: int) -> Unsent:
        envelope = Envelope(id=f"{saga_id}-{number}", kind="fact", type="t.v1", source="/s", time=1.0, data="{}")
        return Unsent(envelope.id, "facts", envelope.dumps())

    await store.commit([
        Transition(a_record("s1"), outbox=(entry("s1", 1), spoilt(entry("s1", 2), "newer"), entry("s1", 3))),
        Transition(a_record("s2"), outbox=(entry("s2", 1), entry("s2", 2))),
    ])  # fmt: skip
    left: list[str] = []

    async def publish(facts: Sequence[Envelope]) -> Sequence[Published]:
        left.extend(one.id for one in facts)
        return [Published.CONFIRMED] * len(facts)

    facts = saga_relay("facts", publish, store, scan_every=0.01, resend_after=-1.0)
    running = asyncio.create_task(facts.run())
    try:
        await until(lambda: left == ["s1-1", "s2-1", "s2-2"])
        assert not facts.holds({"s1-2"})
        facts.dispatch(outgoing([replace(entry("s1", 4), saga_id="s1")]))  # even one that is decided only now
        await asyncio.sleep(0.05)
        assert left == ["s1-1", "s2-1", "s2-2"]
        await store.mark_sent([("s1", "s1-2")])  # a newer one has brought it out
        await until(lambda: left == ["s1-1", "s2-1", "s2-2", "s1-3"])
        assert not facts.unreadable
    finally:
        running.cancel()


async def test_unreadable_entries_do_not_fill_the_look_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("choros.runtime.host.relay.SCAN_LIMIT", 3)
    store = MemoryStore(clock=lambda: 0.0)
    await store.open()
    poison = [Unsent(f"p{n}", "commands", "{}") for n in range(10)]
    await store.commit([Transition(a_record("s1"), outbox=(*poison, Unsent("well", "commands", WHOLE.dumps())))])
    left: list[str] = []

    async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
        left.extend(one.id for one in messages)
        return [Published.CONFIRMED] * len(messages)

    running = asyncio.create_task(saga_relay("commands", publish, store, scan_every=0.01, resend_after=-1.0).run())
    try:
        await until(lambda: left)
    finally:
        running.cancel()

"""Rule 20, each part taken out: what holds facts together fails without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from choros.desk import republish as republishing
from choros.desk.republish import put_out, released
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import HistoryRow
from choros.transport import topology as declaring
from choros.transport.port import Published
from choros.transport.topology import Names, Queue, Subscription, Topology, topology
from choros.wire.envelope import Envelope
from tests.facts.stage import Seen, World, eventually, ledger, moved, world
from tests.facts.test_republishing import stored


async def history_of(*facts: Envelope) -> MemoryStore:
    store = MemoryStore()
    await store.open()
    for fact in facts:
        await stored(store, fact.stream, (5.0, [fact]))
    return store


async def republish(stage: World, store: MemoryStore) -> None:
    async for facts in released(store, 0.0):
        await put_out(stage.publisher, facts)


async def test_what_is_put_out_again_is_handled_once() -> None:
    async with world() as stage:
        facts = [moved(1, stream) for stream in "abc"]
        subscriber = await stage.start(ledger(Seen()))
        await stage.publish(facts[0])
        await eventually("the first is handled", lambda: stage.written() == {"a": (1,)})
        store = await history_of(*facts)
        await republish(stage, store)
        await republish(stage, store)
        await eventually("all are settled", lambda: sum(subscriber.counts.values()) == 7)
        assert stage.written() == {"a": (1,), "b": (1,), "c": (1,)}


async def test_under_another_identity_it_would_be_handled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = republishing.facts_in

    def renumbered(saga_id: str, row: HistoryRow) -> list[Envelope]:
        return [replace(fact, seq=fact.seq + 1000) for fact in real(saga_id, row)]

    monkeypatch.setattr(republishing, "facts_in", renumbered)
    async with world() as stage:
        subscriber = await stage.start(ledger(Seen()))
        await stage.publish(moved(1))
        await republish(stage, await history_of(moved(1)))
        await eventually("both are settled", lambda: sum(subscriber.counts.values()) == 2)
        assert stage.written() == {"s1": (1, 1)}


async def full(stage: World) -> list[Published]:
    """Ten facts for a queue with room for three."""
    await stage.publisher.declare(
        topology("shop", applications=["order"], subscribers=[Subscription("few", at_most=3), "other"])
    )
    return list(await stage.publisher.publish([moved(1, str(number)) for number in range(10)]))


async def test_a_full_queue_behind_the_fan_out_refuses_nothing() -> None:
    async with world() as stage:
        assert await full(stage) == [Published.CONFIRMED] * 10


async def test_one_that_rejected_would_hold_up_the_facts_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    real = declaring._subscribed

    def rejecting(names: Names, queue: str, wanted: Subscription) -> Topology:
        made = real(names, queue, wanted)
        changed: dict[str, Any] = {**made.queues[-1].arguments, "x-overflow": "reject-publish"}
        return replace(made, queues=(*made.queues[:-1], Queue(queue, changed)))

    monkeypatch.setattr(declaring, "_subscribed", rejecting)
    async with world() as stage:
        assert await full(stage) == [Published.CONFIRMED] * 3 + [Published.NACKED] * 7


@pytest.mark.parametrize(
    "wanted", [Subscription("one"), Subscription("one", ordered=True), Subscription("one", False, 9)]
)
def test_no_form_of_a_subscribers_queue_rejects(wanted: Subscription) -> None:
    """An unbounded one says `reject-publish`, which at-least-once dead-lettering needs, and has no length to reach."""
    (queue,) = [q for q in topology("shop", subscribers=[wanted]).queues if q.name == "shop.facts.one"]
    limits = {name for name in queue.arguments if name.startswith("x-max-")}
    assert limits == ({"x-max-length"} if wanted.at_most else set())
    assert queue.arguments["x-overflow"] == ("drop-head" if wanted.at_most else "reject-publish")
    dead = [name for name in queue.arguments if name.startswith("x-dead-letter")]
    assert bool(dead) is not bool(wanted.at_most)  # with drop-head it would be at most once
    assert bool(queue.arguments.get("x-single-active-consumer")) is wanted.ordered

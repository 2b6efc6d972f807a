"""Rule 21: never a lower number after a higher one of a stream; a failing fact holds back its own stream only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from choros.app.handler import Call
from choros.app.service import Service
from choros.runtime.host.effects import Effects
from choros.runtime.host.intake import Intake
from choros.runtime.subscriber import reactions
from choros.runtime.subscriber import subscriber as subscribing
from choros.runtime.subscriber.facts import OVERTAKEN
from choros.runtime.subscriber.inbox import stream_key
from choros.runtime.subscriber.order import HeldBack
from choros.runtime.subscriber.subscriber import CROWDED
from choros.store.barrier import Database, Ok, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from tests.facts.stage import Moved, Seen, eventually, ledger, moved, world
from tests.patience import PATIENCE

QUEUE = "shop.facts.ledger"


def rising(numbers: Sequence[int]) -> bool:
    return list(numbers) == sorted(set(numbers))


async def test_a_lower_number_after_a_higher_one_is_parked_and_not_handled() -> None:
    async with world() as stage:
        subscriber = await stage.start(ledger(Seen(), ordered=True))
        await stage.publish(moved(1), moved(3), moved(2), moved(4), moved(3))
        await eventually("all are settled", lambda: sum(subscriber.counts.values()) == 5)
        assert subscriber.counts == {"handled": 3, "overtaken": 1, "repeated": 1}
        assert stage.written() == {"s1": (1, 3, 4)}
        assert await stage.parked(QUEUE) == [(2, OVERTAKEN)]


async def test_without_the_mark_a_lower_number_is_handled_after_a_higher_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule taken out: the test above fails."""

    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(reactions, "is_overtaken", never)
    async with world() as stage:
        await stage.start(ledger(Seen(), ordered=True))
        await stage.publish(moved(1), moved(3), moved(2))
        await eventually("all are written", lambda: stage.written() == {"s1": (1, 3, 2)})


async def test_an_unordered_service_handles_them_as_they_come() -> None:
    async with world() as stage:
        await stage.start(ledger(Seen()))
        await stage.publish(moved(3), moved(2))
        await eventually("both are written", lambda: sorted(stage.written().get("s1", ())) == [2, 3])


async def test_a_missing_number_is_not_waited_for() -> None:
    async with world() as stage:
        await stage.start(ledger(Seen(), ordered=True))
        await stage.publish(moved(5), moved(9))
        await eventually("both are written", lambda: stage.written() == {"s1": (5, 9)})


async def test_a_failing_fact_holds_back_its_own_stream_and_no_other() -> None:
    async with world() as stage:
        seen = Seen(failing={("a", 2)})
        subscriber = await stage.start(ledger(seen, ordered=True), delays=(0.05,), attempts=1000)
        await stage.publish(*(moved(seq, stream) for seq in range(1, 6) for stream in "abc"))
        whole = tuple(range(1, 6))
        await eventually("the others go on", lambda: stage.written() == {"a": (1,), "b": whole, "c": whole})
        await eventually("it is tried again", lambda: seen.of("a").count(2) >= 3)
        assert stage.written()["a"] == (1,)
        seen.failing.clear()
        await eventually("its stream goes on, in order", lambda: stage.written()["a"] == whole)
        assert subscriber.counts["retried"] == 0
        assert rising(list(dict.fromkeys(seen.of("a"))))


async def test_in_the_ladder_it_would_be_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule taken out: a failing fact that enters the ladder comes back behind the later ones of its stream."""
    monkeypatch.setattr(
        subscribing.Subscriber, "_hold_back",
        lambda self, heard, error: (self._leave(heard), self._fates.failed(heard, error)),
    )  # fmt: skip
    async with world() as stage:
        seen = Seen(failing={("s1", 2)})
        subscriber = await stage.start(ledger(seen, ordered=True))
        await stage.publish(moved(1), moved(2), moved(3))
        await eventually("the later one is handled", lambda: stage.written() == {"s1": (1, 3)})
        seen.failing.clear()
        await eventually("and the failing one too late", lambda: subscriber.counts["overtaken"] == 1)


async def test_after_the_last_attempt_it_is_parked_and_its_stream_goes_on() -> None:
    async with world() as stage:
        seen = Seen(failing={("s1", 2)})
        await stage.start(ledger(seen, ordered=True), attempts=4)
        await stage.publish(*(moved(seq) for seq in range(1, 5)))
        await eventually("the others are written", lambda: stage.written() == {"s1": (1, 3, 4)})
        assert seen.of("s1") == [1, 2, 2, 2, 2, 3, 4]
        assert await stage.parked(QUEUE) == [(2, "handler failed 4 times: ValueError")]


async def test_many_facts_behind_a_failing_one_do_not_stop_the_other_streams() -> None:
    """Every one of them is unsettled, so the prefetch would be used up: the failing one is given up before that."""
    async with world() as stage:
        seen = Seen(failing={("bad", 1)})
        await stage.start(ledger(seen, ordered=True), prefetch=16, delays=(3600,))
        await stage.publish(*(moved(seq, "bad") for seq in range(1, 60)), *(moved(seq, "good") for seq in (1, 2)))
        await eventually("the good stream goes on", lambda: stage.written().get("good") == (1, 2))
        await eventually("the bad one does without its first", lambda: stage.written()["bad"] == tuple(range(2, 60)))
        assert await stage.parked(QUEUE) == [(1, f"handler failed 1 times: ValueError, and {CROWDED}")]


async def test_without_that_the_other_streams_would_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldBack, "look", lambda self: None)
    async with world() as stage:
        seen = Seen(failing={("bad", 1)})
        await stage.start(ledger(seen, ordered=True), prefetch=16, delays=(3600,))
        await stage.publish(*(moved(seq, "bad") for seq in range(1, 60)), moved(1, "good"))
        await eventually("it is tried", lambda: seen.tried == [("bad", 1)])
        await asyncio.sleep(0.3)
        assert stage.written() == {}


async def test_a_stop_takes_no_time_and_what_was_held_back_comes_again_in_order() -> None:
    async with world() as stage:
        seen, service = Seen(failing={("s1", 2)}), None
        service = ledger(seen, ordered=True)
        first = await stage.start(service, delays=(3600,), prefetch=16)  # room for all of the stream
        second = await stage.start(service)  # waits for its turn: one consumer at a time
        await stage.publish(*(moved(seq) for seq in range(1, 9)))
        await eventually("it is held back", lambda: first.counts["held back"] == 1)
        assert second.counts == {}
        seen.failing.clear()
        async with asyncio.timeout(PATIENCE):
            await stage.stop(first)
        await eventually("the other one goes on", lambda: stage.written() == {"s1": tuple(range(1, 9))})
        assert second.counts["overtaken"] == 0


async def handed_over() -> tuple[list[int], int]:
    """One replica is stopped while it holds a stream back and is still busy with another; the next one takes over."""
    busy, called = asyncio.Event(), list[int]()
    service = Service("ledger", ordered=True)

    @service.on(Moved)
    async def write(fact: Moved, call: Call) -> None:
        if call.correlation_id == "slow":
            busy.set()
            await asyncio.sleep(0.1)
        elif fact.step == 2 and not busy.is_set():
            raise ValueError
        else:
            called.append(fact.step)

    async with world() as stage:
        first = await stage.start(service, delays=(3600,), prefetch=8)
        second = await stage.start(service)
        await stage.publish(*(moved(seq) for seq in range(1, 4)))
        await eventually("it is held back", lambda: first.counts["held back"] == 1)
        await stage.publish(*(moved(seq, "slow") for seq in range(1, 7)), *(moved(seq) for seq in range(4, 21)))
        await eventually("the first is busy", busy.is_set)
        await stage.stop(first)
        await eventually("the second has settled the rest", lambda: sum(second.counts.values()) == 19)
        return called, second.counts["overtaken"]


async def test_nothing_goes_back_to_the_queue_before_all_that_is_under_way_has_ended() -> None:
    assert await handed_over() == (list(range(1, 21)), 0)


async def test_with_a_plain_cancel_the_next_replica_would_be_given_what_comes_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As RabbitMQ 3.10 does it, measured: the next consumer is active while the last one still holds deliveries."""
    monkeypatch.setattr(subscribing, "Intake", lambda *given, together: Intake(*given, together=False))
    called, overtaken = await handed_over()
    assert overtaken == 2
    assert called == [1, *range(4, 21)]


async def test_replicas_take_over_from_each_other_and_the_order_stays() -> None:
    random = Random(11)
    async with world() as stage:
        seen, service = Seen(), None
        service = ledger(seen, ordered=True)
        running = [await stage.start(service, prefetch=8) for _ in range(3)]
        for round_ in range(12):
            await stage.publish(*(moved(round_ * 10 + n, stream) for n in range(1, 11) for stream in "ab"))
            await asyncio.sleep(random.uniform(0, 0.01))
            gone = running.pop(0)
            await (stage.stop(gone) if random.random() < 0.5 else stage.kill(gone))
            running.append(await stage.start(service, prefetch=8))
        whole = tuple(range(1, 121))
        await eventually("all is written", lambda: stage.written() == {"a": whole, "b": whole})


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_handler_without_transaction_is_called_in_order_too(kind: str, tmp_path: Path) -> None:
    database: Database = MemoryDatabase() if kind == "memory" else SqliteDatabase(tmp_path / "l.db")
    called: list[int] = []
    service = Service("ledger", ordered=True)

    @service.on(Moved)
    async def tell(fact: Moved, call: Call) -> None:
        called.append(fact.step)
        await asyncio.sleep(0)
        if fact.step == 2 and called.count(2) < 3:
            raise ValueError

    async with world() as stage:
        await database.open()
        stage.database = database
        subscriber = await stage.start(service)
        await stage.publish(moved(1), moved(2), moved(4), moved(3), moved(5))
        await eventually("all are settled", lambda: sum(subscriber.counts.values()) == 7)
        assert called == [1, 2, 2, 2, 4, 5]
        assert (subscriber.counts["overtaken"], subscriber.counts["held back"]) == (1, 2)
        await database.close()


async def test_the_mark_rolls_back_with_the_effect() -> None:
    async with world() as stage:
        seen = Seen(failing={("s1", 5)})
        await stage.start(ledger(seen, ordered=True), delays=(3600,))
        await stage.publish(moved(5))
        await eventually("it is tried", lambda: seen.of("s1") == [5])

        async def look(transaction: Transaction) -> Any:
            return await transaction.read_row(stream_key("ledger", moved(5)))

        assert await stage.database.run([look]) == [Ok(None)]


async def test_only_the_longest_of_the_held_back_streams_is_given_up() -> None:
    lanes = Effects()
    held = HeldBack(lanes, room=5)
    for lane, behind in (("short", 1), ("long", 2)):
        for _ in range(behind + 1):
            lanes.enter(lane)
    waits = {lane: asyncio.create_task(held.wait(lane, 3600)) for lane in ("short", "long")}
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits.values())
    lanes.enter("short")
    held.look()
    done, _ = await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
    assert [wait.result() for wait in done] == ["crowded"]
    held.close()
    assert sorted([await wait for wait in waits.values()]) == ["crowded", "stopped"]
    assert await held.wait("short", 3600) == "stopped"


async def test_an_abandoned_lane_lets_nobody_in() -> None:
    lanes = Effects()
    assert lanes.enter("a") is None
    waiting = lanes.enter("a")
    lanes.abandon("a")
    late = lanes.enter("a")
    assert waiting is not None and waiting.cancelled()
    assert late is not None and late.cancelled()

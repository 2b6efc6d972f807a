"""A service gains a type of facts: what only its new replicas handle, the old ones do not pass over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from choros.app.handler import Call
from choros.app.service import Service
from choros.runtime.subscriber.facts import NOBODY_ELSE
from choros.runtime.subscriber.heard_types import ANNOUNCED_FOR, put_off
from choros.runtime.subscriber.subscriber import MOST_WAYS
from choros.store.barrier import Transaction
from choros.store.memory.barrier import MemoryTransaction
from tests.captured import capture_logs
from tests.facts.stage import Seen, Stopped, World, eventually, ledger, moved, world

QUEUE = "shop.facts.ledger"


def new_ledger(seen: Seen, **options: Any) -> Service:
    """The next release: it hears of stops as well."""
    service = ledger(seen, **options)

    @service.on(Stopped)
    async def stop(fact: Stopped, db: Transaction, call: Call) -> None:
        assert isinstance(db, MemoryTransaction)
        stream = f"{call.correlation_id} stopped"
        await db.put(stream, await db.get(stream, 0) + 1)

    return service


def stopped(seq: int, stream: str = "s1", **more: Any) -> Any:
    return moved(seq, stream, type=Stopped.type_name, data="{}", **more)


def stops(stage: World) -> int:
    return sum(count for stream, count in stage.written().items() if stream.endswith(" stopped"))  # type: ignore[misc]


async def test_what_only_the_new_replica_handles_is_heard_once_each() -> None:
    async with world() as stage:
        old = await stage.start(ledger(Seen()))
        new = await stage.start(new_ledger(Seen()))
        await asyncio.sleep(0.1)
        await stage.publish(*(stopped(1, f"s{n}") for n in range(200)), *(moved(1, f"m{n}") for n in range(200)))
        await eventually("all stops are heard", lambda: stops(stage) == 200)
        await eventually("all moves are heard", lambda: len(stage.written()) == 400)
        assert old.counts["put off"] > 0
        assert not old.counts["passed"]
        assert not new.counts["put off"]
        assert await stage.parked(QUEUE) == []


async def test_a_type_that_nobody_handles_is_passed_over_counted_and_said_once() -> None:
    async with world() as stage:
        with capture_logs() as logs:
            old = await stage.start(ledger(Seen()))
            await stage.publish(*(stopped(n + 1) for n in range(5)))
            await eventually("they are passed over", lambda: old.counts["passed"] == 5)
        assert [entry["type"] for entry in logs if entry["event"] == "choros.fact.passed_over"] == [Stopped.type_name]


async def test_what_no_replica_takes_for_an_hour_is_parked_where_it_can_be_put_back() -> None:
    async with world() as stage:
        await stage.start(ledger(Seen()))
        new = await stage.start(new_ledger(Seen()))
        await asyncio.sleep(0.1)
        await stage.stop(new)
        await stage.publish(stopped(1))
        await asyncio.sleep(1800)
        assert await stage.parked(QUEUE) == []
        await asyncio.sleep(2 * 3600)
        assert await stage.parked(QUEUE) == [(1, NOBODY_ELSE.sentence)]


async def test_a_release_that_was_taken_back_is_forgotten_after_a_day() -> None:
    async with world() as stage:
        clock = [1e9]
        old = await stage.start(ledger(Seen()), clock=lambda: clock[0])
        new = await stage.start(new_ledger(Seen()), clock=lambda: clock[0])
        await asyncio.sleep(0.1)
        await stage.stop(new)
        clock[0] += ANNOUNCED_FOR + 1
        await stage.publish(stopped(1))
        await eventually("it is passed over", lambda: old.counts["passed"] == 1)


@pytest.mark.slow
async def test_a_release_that_runs_on_says_so_again() -> None:
    async with world() as stage:
        loop = asyncio.get_running_loop()
        old = await stage.start(ledger(Seen()), clock=loop.time)
        await stage.start(new_ledger(Seen()), clock=loop.time)
        await asyncio.sleep(3 * ANNOUNCED_FOR)
        await stage.publish(*(stopped(1, f"s{n}") for n in range(50)))
        await eventually("all are heard", lambda: stops(stage) == 50)
        assert not old.counts["passed"]


async def test_an_ordered_old_replica_gives_way_to_a_new_one_however_much_there_is_of_the_new_type() -> None:
    """What it parks instead cannot be put back: later facts of its stream have overtaken it."""
    async with world() as stage:
        old = await stage.start(ledger(Seen(), ordered=True))
        new = await stage.start(new_ledger(seen := Seen(), ordered=True))
        await asyncio.sleep(0.1)
        await stage.publish(*(fact for n in range(100) for fact in (moved(1, f"s{n}"), stopped(2, f"s{n}"))))
        await stage.publish(*(moved(3, f"s{n}") for n in range(100)))
        await eventually("all is heard", lambda: stops(stage) == 100 and sum(stage.written().get("s99", ())) == 4)
        assert {stage.written()[f"s{n}"] for n in range(100)} == {(1, 3)}
        assert seen.of("s99") == [1, 3]
        assert (old.counts["gave way"], new.counts["overtaken"], new.counts["gave way"]) == (1, 0, 0)
        assert await stage.parked(QUEUE) == []
        await stage.stop(new)
        await stage.publish(moved(4, "s1"))
        await eventually("the old one goes on", lambda: stage.written()["s1"] == (1, 3, 4))


async def test_an_ordered_replica_that_nobody_takes_over_from_gives_way_only_so_often() -> None:
    async with world() as stage:
        old = await stage.start(ledger(Seen(), ordered=True))
        new = await stage.start(new_ledger(Seen(), ordered=True))
        await asyncio.sleep(0.1)
        await stage.stop(new)
        await stage.publish(moved(1), stopped(2), moved(3), moved(1, "s2"))
        await eventually("the other stream goes on", lambda: stage.written() == {"s1": (1,), "s2": (1,)})
        await eventually("the stream goes on", lambda: stage.written().get("s1") == (1, 3))
        assert old.counts["gave way"] == MOST_WAYS
        assert await stage.parked(QUEUE) == [(2, NOBODY_ELSE.sentence)]


async def test_one_that_reads_from_the_start_reads_the_log_anew_for_a_type_that_it_gains() -> None:
    async with world() as stage:
        await stage.publish(moved(1), stopped(2), moved(3))
        old = await stage.start(ledger(Seen(), from_start=True))
        await eventually("it has caught up", lambda: old.counts["passed"] == 1 and stage.written() == {"s1": (1, 3)})
        await asyncio.sleep(1)
        await stage.stop(old)
        new = await stage.start(new_ledger(seen := Seen(), from_start=True))
        await eventually("the stop is heard", lambda: stops(stage) == 1)
        assert not seen.tried
        await asyncio.sleep(1)
        await stage.stop(new)
        again = await stage.start(new_ledger(Seen(), from_start=True))
        await asyncio.sleep(1)
        assert not again.counts  # and not once more


async def test_what_is_read_anew_and_long_forgotten_is_no_affair_of_a_persons() -> None:
    async with world() as stage:
        clock = [1000.0]
        await stage.publish(*(moved(1, f"s{n}") for n in range(50)))
        old = await stage.start(ledger(Seen(), from_start=True), clock=lambda: clock[0], prune_every=1.0)
        await eventually("all is handled", lambda: old.counts["handled"] == 50)
        await asyncio.sleep(5)
        clock[0] += 20 * 86_400
        await asyncio.sleep(5)
        await stage.stop(old)
        await stage.publish(stopped(1, "z", time=clock[0]))
        new = await stage.start(new_ledger(seen := Seen(), from_start=True), clock=lambda: clock[0])
        await eventually("the stop is heard", lambda: stops(stage) == 1)
        await eventually("all is read", lambda: new.counts["passed"] == 50)
        assert not seen.tried
        assert await stage.parked(QUEUE) == []


async def test_reading_anew_that_was_cut_off_is_begun_again() -> None:
    async with world() as stage:
        old = await stage.start(ledger(Seen(), from_start=True))
        await asyncio.sleep(1)
        await stage.stop(old)
        await stage.publish(*(stopped(1, f"s{n}") for n in range(500)))
        cut = await stage.start(new_ledger(Seen(), from_start=True), prefetch=4)
        await eventually("it is in the middle", lambda: stops(stage) > 10)
        await stage.kill(cut)
        await stage.start(new_ledger(Seen(), from_start=True))
        await eventually("all are heard", lambda: stops(stage) == 500)


async def test_the_database_that_is_away_makes_nobody_pass_over() -> None:
    async with world() as stage:
        old = await stage.start(ledger(Seen()))
        new = await stage.start(new_ledger(Seen()))
        await asyncio.sleep(0.1)
        await stage.stop(new)
        await stage.database.close()
        await stage.publish(stopped(1))
        await asyncio.sleep(5)
        assert not old.counts
        await stage.database.open()
        await eventually("it is put off", lambda: old.counts["put off"] >= 1)


def test_a_fact_is_put_off_for_about_an_hour() -> None:
    seconds = [put_off(waits) for waits in range(140)]
    assert seconds == sorted(seconds, key=lambda one: one or 0.0)
    assert 3600 <= sum(one or 0.0 for one in seconds) <= 4000
    assert put_off(140) is None

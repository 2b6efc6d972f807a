"""Facts that are handled several at a time: once each, and one that fails is found and takes no other with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from choros.app.handler import Call
from choros.app.hearing import Batch
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.messages import Fact
from choros.runtime.subscriber.inbox import inbox_key
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Transaction
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from tests.facts.stage import Moved, Stopped, World, eventually, moved, world
from tests.runtime.participant_stage import stage_for

QUEUE = "shop.facts.ledger"
LONG = timedelta(minutes=1)
AT_ONCE = timedelta(milliseconds=1)


@dataclass
class Counted:
    """What the handler was called with, and how it shall behave."""

    calls: list[tuple[int, ...]] = field(default_factory=list)
    failing: set[int] = field(default_factory=set)
    raised: type[BaseException] = ValueError


def counting(seen: Counted, *, inside: bool = True, most: int = 3, within: timedelta = LONG, **options: Any) -> Service:
    """A service that adds up what it hears, several facts at a time."""
    service = Service("ledger", **options)
    batch = Batch(most, within=within)

    async def add(facts: list[Moved], db: Transaction | None) -> None:
        steps = [fact.step for fact in facts]
        seen.calls.append(tuple(steps))
        if isinstance(db, MemoryTransaction):
            await db.put("sum", await db.get("sum", 0) + sum(steps))
        if seen.failing.intersection(steps):
            raise seen.raised

    if inside:

        @service.on(Moved, batch=batch)
        async def add_inside(facts: list[Moved], db: Transaction) -> None:
            await add(facts, db)

    else:

        @service.on(Moved, batch=batch)
        async def add_outside(facts: list[Moved]) -> None:
            await add(facts, None)

    return service


async def settled(subscriber: Subscriber, **counts: int) -> None:
    await eventually(f"{counts}", lambda: subscriber.counts == counts)


def rows(stage: World, *steps: int) -> list[bool]:
    """Whether the inbox knows them."""
    kept = stage.database._rows.rows  # type: ignore[attr-defined] # it is the one in memory
    return [inbox_key("ledger", moved(step)) in kept for step in steps]


def total(stage: World) -> Any:
    return stage.written().get("sum", 0)


@pytest.mark.parametrize("inside", [True, False])
async def test_as_many_as_wanted_are_handled_by_one_call_each_once(inside: bool) -> None:
    seen = Counted()
    async with world() as stage:
        subscriber = await stage.start(counting(seen, inside=inside))
        await stage.publish(*(moved(step) for step in range(1, 7)))
        await settled(subscriber, handled=6)
        assert seen.calls == [(1, 2, 3), (4, 5, 6)]
        assert all(rows(stage, *range(1, 7)))
        assert total(stage) == (21 if inside else 0)
        await stage.publish(*(moved(step) for step in range(1, 4)))
        await settled(subscriber, handled=6, repeated=3)
        assert len(seen.calls) == 2


async def test_none_waits_for_others_longer_than_it_may() -> None:
    seen = Counted()
    async with world() as stage:
        subscriber = await stage.start(counting(seen, most=1000, within=AT_ONCE))
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        await stage.publish(moved(2), moved(3))
        await settled(subscriber, handled=3)
        assert seen.calls == [(1,), (2, 3)]
        assert subscriber.lag > 0


async def test_no_batch_waits_for_more_facts_than_may_be_with_its_subscriber() -> None:
    seen = Counted()
    async with world() as stage:
        subscriber = await stage.start(counting(seen, most=1000), prefetch=2)
        await stage.publish(*(moved(step) for step in range(1, 5)))
        await settled(subscriber, handled=4)
        assert seen.calls == [(1, 2), (3, 4)]


async def test_what_the_inbox_knows_is_left_out_of_a_batch() -> None:
    seen = Counted()
    async with world() as stage:
        subscriber = await stage.start(counting(seen, most=2))
        await stage.publish(moved(1), moved(2))
        await settled(subscriber, handled=2)
        await stage.publish(moved(1), moved(3))
        await settled(subscriber, handled=3, repeated=1)
        assert seen.calls == [(1, 2), (3,)]
        assert total(stage) == 6


async def test_a_copy_that_comes_meanwhile_is_not_handled_with_the_first() -> None:
    seen = Counted()
    async with world() as stage:
        subscriber = await stage.start(counting(seen, most=2))
        await stage.publish(moved(1), moved(1), moved(2))
        await settled(subscriber, handled=2, repeated=1)
        assert seen.calls == [(1, 2)]


@pytest.mark.parametrize("inside", [True, False])
async def test_one_that_fails_is_found_and_fails_alone(inside: bool) -> None:
    seen = Counted(failing={2})
    async with world() as stage:
        subscriber = await stage.start(counting(seen, inside=inside))
        await stage.publish(moved(1), moved(2), moved(3))
        await settled(subscriber, **{"handled": 2, "retried": 1, "taken apart": 1})
        assert seen.calls[0] == (1, 2, 3)
        assert sorted(seen.calls[1:]) == [(1,), (2,), (3,)]
        assert rows(stage, 1, 2, 3) == [True, False, True]
        assert total(stage) == (4 if inside else 0)


async def test_one_that_has_failed_is_tried_and_parked_alone() -> None:
    seen = Counted(failing={2})
    async with world() as stage:
        subscriber = await stage.start(counting(seen), attempts=2)
        await stage.publish(moved(1), moved(2), moved(3))
        await settled(subscriber, **{"handled": 2, "retried": 1, "taken apart": 1})
        await settled(subscriber, **{"handled": 2, "retried": 1, "taken apart": 1, "parked": 1})
        assert seen.calls[-1] == (2,)
        assert await stage.parked(QUEUE) == [(2, "handler failed 2 times: ValueError")]


async def test_what_somebody_held_who_has_ended_is_handled_alone() -> None:
    """It may be what ended it, and the broker parks what comes back too often: with it all that was in its batch."""
    seen, waiting = Counted(), asyncio.Event()
    service = Service("ledger")

    @service.on(Moved, batch=Batch(3, within=LONG))
    async def hang(facts: list[Moved], db: Transaction) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with world() as stage:
        doomed = await stage.start(service)
        await stage.publish(moved(1), moved(2), moved(3))
        await waiting.wait()
        await stage.kill(doomed)
        subscriber = await stage.start(counting(seen))
        await settled(subscriber, handled=3)
        assert sorted(seen.calls) == [(1,), (2,), (3,)]


async def test_what_comes_from_the_log_is_handled_in_batches() -> None:
    seen = Counted()
    async with world() as stage:
        await stage.publish(moved(1), moved(2), moved(3))
        subscriber = await stage.start(counting(seen, from_start=True))
        await settled(subscriber, handled=3)
        assert seen.calls == [(1, 2, 3)]


async def test_what_is_gathered_when_it_stops_is_handled_or_comes_again() -> None:
    seen = Counted()
    async with world() as stage:
        first = await stage.start(counting(seen, most=2, within=timedelta(seconds=1)))
        await stage.publish(moved(1))
        await eventually("it is with it", lambda: first.last_delivery is not None)
        await stage.stop(first)
        second = await stage.start(counting(seen, most=2, within=AT_ONCE))
        await stage.publish(moved(2))
        await eventually("both are handled", lambda: first.counts["handled"] + second.counts["handled"] == 2)
        assert total(stage) == 3


async def test_a_handler_that_wants_the_process_to_end_ends_it_and_its_batch_comes_again() -> None:
    seen = Counted(failing={2}, raised=SystemExit)
    async with stage_for(counting(seen), MemoryDatabase(), kind=Subscriber, start=False) as stage:
        await stage.publish(moved(1), moved(2), moved(3))
        with pytest.raises(SystemExit):
            await stage.runner.run()
        await stage.cut()
        assert stage.counts == {}
        assert len(stage.broker.waiting(QUEUE)) == 3


async def test_facts_of_two_types_are_not_mixed() -> None:
    service, calls = Service("ledger"), list[list[Fact]]()

    @service.on(Moved, Stopped, batch=Batch(2, within=LONG))
    async def note(facts: list[Moved | Stopped], db: Transaction) -> None:
        calls.append([*facts])

    async with world() as stage:
        subscriber = await stage.start(service)
        halted = {"type": Stopped.type_name, "data": Stopped().to_json()}
        await stage.publish(moved(1), moved(2, **halted), moved(3), moved(4, **halted))
        await settled(subscriber, handled=4)
        assert sorted(calls, key=repr) == [[Moved(step=1), Moved(step=3)], [Stopped(), Stopped()]]


async def test_what_is_withdrawn_is_no_part_of_a_batch() -> None:
    service, calls = Service("ledger"), list[tuple[int, ...]]()

    @service.on(Moved, batch=Batch(2, within=LONG))
    async def note(facts: list[Moved], db: Transaction) -> None:
        calls.append(tuple(fact.step for fact in facts))

    @service.on(Stopped, undoes=Moved)
    async def forget(fact: Stopped, db: Transaction) -> None:
        raise AssertionError("there is nothing to undo")

    async with world() as stage:
        subscriber = await stage.start(service)
        await stage.publish(moved(9, type=Stopped.type_name, data=Stopped().to_json()))
        await settled(subscriber, withdrawn=1)
        await stage.publish(moved(1), moved(2, stream="s2"))
        await settled(subscriber, withdrawn=2, handled=1)
        assert calls == [(2,)]


# --- the declaration ---


def test_a_list_alone_says_that_it_is_a_batch() -> None:
    service = Service("ledger")

    @service.on(Moved)
    async def note(facts: list[Moved], db: Transaction) -> None: ...

    (handler,) = service.reactions.values()
    assert handler.batch == Batch()


def test_a_batch_takes_a_list() -> None:
    with pytest.raises(DeclarationError, match=r"note has a batch=, and takes one fact.*fact: list\[Moved\]"):

        @Service("ledger").on(Moved, batch=Batch(2))
        async def note(fact: Moved) -> None: ...


def test_a_batch_takes_no_call() -> None:
    with pytest.raises(DeclarationError, match="takes a list of facts; a Call"):

        @Service("ledger").on(Moved)
        async def note(facts: list[Moved], call: Call) -> None: ...


def test_a_batch_is_not_taken_in_order() -> None:
    with pytest.raises(DeclarationError, match="one after the other"):

        @Service("ledger", ordered=True).on(Moved)
        async def note(facts: list[Moved]) -> None: ...


def test_a_list_of_something_else_is_no_batch() -> None:
    with pytest.raises(DeclarationError, match="takes 'facts', which is neither Moved"):

        @Service("ledger").on(Moved)  # type: ignore[arg-type] # which is what is tried
        async def note(facts: list[Stopped]) -> None: ...


@pytest.mark.parametrize(("most", "within"), [(0, LONG), (10_001, LONG), (2, timedelta(0)), (2, timedelta(hours=1))])
def test_what_is_no_batch(most: int, within: timedelta) -> None:
    with pytest.raises(DeclarationError, match="is none"):
        Batch(most, within=within)

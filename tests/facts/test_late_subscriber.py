"""Rule 22, and the bounded queue of rule 20: whoever comes late or has dropped something finds it in the fact log."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.messages import Fact
from choros.runtime.subscriber import catch_up as catching_up
from choros.runtime.subscriber.inbox import types_key
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import value_of
from choros.transport.fact_log import FactLog
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.topology import Names
from tests.facts.stage import Moved, Seen, Stopped, World, eventually, ledger, moved, world
from tests.patience import PATIENCE

QUEUE = "shop.facts.ledger"


def handled(subscriber: Subscriber, count: int) -> bool:
    return subscriber.counts["handled"] == count


async def written(world: World, **streams: tuple[int, ...]) -> None:
    try:
        await eventually(f"the ledger holds {streams}", lambda: _sorted(world) == streams)
    except AssertionError:
        assert _sorted(world) == streams
        raise


def _sorted(world: World) -> dict[str, tuple[int, ...]]:
    return {stream: tuple(sorted(numbers)) for stream, numbers in world.written().items()}


async def test_a_late_subscriber_handles_every_fact_of_the_log_and_every_later_one_once() -> None:
    async with world() as stage:
        await stage.publish(*(moved(seq, stream) for seq in (1, 2, 3) for stream in "ab"))
        subscriber = await stage.start(ledger(seen := Seen(), from_start=True), publish_timeout=0.3)
        await stage.publish(moved(4, "a"))  # into the log and into the queue, which is held
        await written(stage, a=(1, 2, 3, 4), b=(1, 2, 3))
        await stage.publish(moved(5, "a"))
        await written(stage, a=(1, 2, 3, 4, 5), b=(1, 2, 3))
        assert sorted(seen.tried) == sorted(set(seen.tried))
        await eventually("some came twice", lambda: subscriber.counts["repeated"] >= 1)


async def test_without_from_start_a_subscriber_gets_what_comes_from_now_on() -> None:
    async with world() as stage:
        await stage.publish(moved(1))
        await stage.start(ledger(Seen()))
        await stage.publish(moved(2))
        await written(stage, s1=(2,))


async def test_the_queue_is_held_until_the_log_is_read() -> None:
    """Whoever publishes past the binding has given up, and published again, when the mark is put."""
    async with world() as stage:
        await stage.start(ledger(Seen(), from_start=True), publish_timeout=0.5)
        await asyncio.sleep(0.2)
        await _only_into_the_log(stage, 1)  # a publish that was routed before the queue was bound, and is slow
        await written(stage, s1=(1,))


async def _only_into_the_log(stage: World, seq: int) -> None:
    """Publish a fact as if the subscriber's queue were not bound yet."""
    assert isinstance(stage.publisher, MemoryTransport)
    log = stage.publisher._broker._queues[stage.names.facts_log]
    wire = _wire(stage, seq)
    log.put(wire, stage.names.facts)


def _wire(stage: World, seq: int) -> Any:
    from choros.wire.envelope import encode

    return encode(moved(seq))


async def test_a_mark_that_is_put_at_once_misses_a_publish_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule taken out: without the wait for the publish timeout the test above fails."""
    read = catching_up.CatchUp._read

    async def at_once(self: catching_up.CatchUp, take: Any, since: float | None, wait: float, **more: Any) -> Any:
        return await read(self, take, since, 0.0, **more)

    monkeypatch.setattr(catching_up.CatchUp, "_read", at_once)
    async with world() as stage:
        subscriber = await stage.start(ledger(Seen(), from_start=True), publish_timeout=0.5)
        await asyncio.sleep(0.2)
        await _only_into_the_log(stage, 1)
        await stage.publish(moved(2))
        await eventually("it is live", lambda: handled(subscriber, 1))
        assert stage.written() == {"s1": (2,)}


async def test_a_second_start_does_not_read_the_log_again() -> None:
    async with world() as stage:
        await stage.publish(moved(1))
        service = ledger(Seen(), from_start=True)
        first = await stage.start(service)
        await written(stage, s1=(1,))
        await eventually("it knows that it has read all", lambda: _all_read(stage))
        await stage.stop(first)
        await _only_into_the_log(stage, 7)
        second = await stage.start(service)
        await stage.publish(moved(2))
        await written(stage, s1=(1, 2))
        await eventually("and nothing else", lambda: second.counts == {"handled": 1})


async def _noted(stage: World) -> bool:
    return await _row(stage, f"log\x1f{QUEUE}") is not None


async def _all_read(stage: World) -> bool:
    """It has noted, too, that nothing in the log is unread of its types: what comes after that is live."""
    types = await _row(stage, types_key("ledger"))
    return await _noted(stage) and types is not None and json.loads(types.content)["unread"] == []


async def _row(stage: World, key: str) -> Any:
    async def look(transaction: Any) -> Any:
        return await transaction.read_row(key)

    return value_of(*await stage.database.run([look]))


async def test_a_crash_while_it_catches_up_starts_it_over_and_doubles_nothing() -> None:
    async with world() as stage:
        await stage.publish(*(moved(seq) for seq in range(1, 200)))
        service = ledger(Seen(), from_start=True)
        first = await stage.start(service, publish_timeout=5.0, prefetch=10)
        await eventually("it is at it", lambda: first.counts["handled"] >= 50)
        await stage.kill(first)
        await stage.start(service)
        await written(stage, s1=tuple(range(1, 200)))


async def test_what_fails_in_the_log_goes_into_the_ladder_of_its_queue() -> None:
    async with world() as stage:
        await stage.publish(moved(1), moved(2), moved(3))
        seen = Seen(failing={("s1", 2)})
        subscriber = await stage.start(ledger(seen, from_start=True))
        await written(stage, s1=(1, 3))
        await eventually("it is noted", lambda: _noted(stage))
        assert subscriber.counts["retried"] == 1
        seen.failing.clear()
        await written(stage, s1=(1, 2, 3))


async def test_a_type_it_does_not_react_to_is_passed_over_and_rubbish_in_the_log_is_parked() -> None:
    async with world() as stage:
        await stage.publish(replace(moved(1), type=Stopped.type_name), replace(moved(2), data="{}"), moved(3))
        subscriber = await stage.start(ledger(Seen(), from_start=True))
        await eventually("each met its fate", lambda: subscriber.counts == {"passed": 1, "parked": 1, "handled": 1})


async def test_a_mark_of_somebody_else_ends_nothing() -> None:
    async with world() as stage:
        await stage.publisher.mark("a stranger's")
        await stage.publish(moved(1))
        await stage.start(ledger(Seen(), from_start=True))
        await written(stage, s1=(1,))


async def test_a_mark_that_is_lost_is_put_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "MARK_AGAIN", 0.1)
    async with world() as stage:
        await stage.publish(moved(1))
        service = ledger(Seen(), from_start=True)
        transport = Forgetful(stage.publisher._broker, "shop")  # type: ignore[attr-defined] # it is one in memory
        stage.open_transport = lambda: transport
        await stage.start(service)
        await stage.publish(moved(2))
        await written(stage, s1=(1, 2))
        await eventually("it is noted", lambda: _noted(stage))
        assert transport.marks >= 2


class Forgetful(MemoryTransport):
    """Loses the first mark."""

    marks = 0

    async def mark(self, text: str) -> Any:
        self.marks += 1
        return await super().mark(text if self.marks > 1 else "lost")


async def test_a_stop_while_it_catches_up_is_no_wait() -> None:
    async with world() as stage:
        await stage.publish(moved(1))
        subscriber = await stage.start(ledger(Seen(), from_start=True), publish_timeout=60.0)
        await written(stage, s1=(1,))
        async with asyncio.timeout(PATIENCE):
            await stage.stop(subscriber)
        assert not await _noted(stage)


# --- the bounded queue ------------------------------------------------------------------------------------------------


async def test_a_bounded_queue_drops_its_oldest_and_its_subscriber_finds_them_in_the_log() -> None:
    async with world() as stage:
        service = ledger(seen := Seen(), queue_limit=5)
        first = await stage.start(service)
        await stage.publish(moved(1))
        await written(stage, s1=(1,))
        await stage.stop(first)
        await stage.publish(*(moved(seq) for seq in range(2, 51)))  # while nobody is there
        await stage.start(service)
        await written(stage, s1=tuple(range(1, 51)))
        assert sorted(seen.of("s1")) == list(range(1, 51))


async def test_what_is_dropped_under_way_is_found_by_the_next_look() -> None:
    async with world() as stage:
        service = ledger(Seen(), queue_limit=5)
        subscriber = await stage.start(service, reread_every=0.2)
        await eventually("it has begun", lambda: _noted(stage))
        await _only_into_the_log(stage, 1)  # the queue has dropped it
        await written(stage, s1=(1,))
        await stage.publish(moved(2))
        await written(stage, s1=(1, 2))
        assert subscriber.counts["handled"] == 2


async def test_without_the_log_what_a_bounded_queue_drops_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule taken out: the two tests above fail."""

    async def nothing(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(catching_up.CatchUp, "begin", nothing)
    async with world() as stage:
        service = ledger(Seen(), queue_limit=5)
        await stage.bind(service)
        await stage.publish(*(moved(seq) for seq in range(1, 51)))
        await stage.start(service)
        await written(stage, s1=(46, 47, 48, 49, 50))


# --- what is declared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"from_start": True}, {"queue_limit": 10}])
def test_whoever_reads_the_log_needs_one(options: dict[str, Any]) -> None:
    service = Service("late", facts=[Moved], **options)
    with pytest.raises(DeclarationError, match=r"'late' reads the fact log.*Try: App"):
        App("shop", services=[service])
    app = App("shop", services=[service], fact_log=FactLog())
    assert Names("shop").facts_log in {queue.name for queue in app.topology.queues}
    assert app.within("other").fact_log == FactLog()


def test_a_bounded_queue_has_no_order_to_keep() -> None:
    with pytest.raises(DeclarationError, match="out of order"):
        Service("late", ordered=True, queue_limit=5)
    with pytest.raises(DeclarationError, match="queue_limit is -1"):
        Service("late", queue_limit=-1)


def test_the_log_is_an_application_s_choice() -> None:
    class Late(Fact, name="facts.late"):
        """Any."""

    app = App("shop", services=[Service("late", facts=[Late])])
    assert Names("shop").facts_log not in {queue.name for queue in app.topology.queues}


@pytest.mark.parametrize("size", [{"max_bytes": 1000}, {"max_age": FactLog().max_age * 0}])
def test_a_log_that_keeps_nothing_is_refused(size: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="keeps nothing"):
        FactLog(**size)


async def test_the_log_in_memory_is_bounded_by_size() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "shop")
    await transport.connect()
    log = FactLog(max_bytes=512 * 1024)
    await transport.declare(App("shop", name="order", fact_log=log).topology)
    facts = [replace(moved(seq), data=f'{{"step":{seq},"x":"{"x" * 100_000}"}}') for seq in range(1, 11)]
    await transport.publish(facts)
    reader = await transport.replay(QUEUE, 100)
    assert [delivery.wire.headers["cloudEvents_factseq"] for delivery in await reader.receive(100)] == [6, 7, 8, 9, 10]

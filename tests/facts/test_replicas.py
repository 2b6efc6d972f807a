"""Which process of a subscriber hears a fact: any one, each of them, or the only one that is at work."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.roles.addresses import Addresses, connected
from choros.roles.process import run_role
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Transaction
from choros.transport.instances import instance_name, instance_topology
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.permissions import subscriber as rights_of
from choros.transport.topology import Names, Subscription, Topology, topology
from tests.facts.stage import Moved, World, eventually, moved, world

NAMES = Names("shop")


def hearing(seen: list[int], failing: Counter[int] | None = None, **options: Any) -> Service:
    """A service that keeps what it hears in its process."""
    service = Service("prices", **options)

    @service.on(Moved)
    async def note(fact: Moved) -> None:
        if failing and failing[fact.step] > 0:
            failing[fact.step] -= 1
            raise ValueError
        seen.append(fact.step)

    return service


async def process(stage: World, service: Service, instance: str, **options: Any) -> Subscriber:
    """One of a service each of whose processes hears every fact."""
    await stage.publisher.declare(topology("shop", subscribers=[service.subscription]))
    await stage.publisher.declare(instance_topology(stage.names, service.name, instance))
    return await stage.start(service, instance=instance, **options)


async def test_each_process_hears_every_fact_once() -> None:
    first, second = list[int](), list[int]()
    async with world() as stage:
        one = await process(stage, hearing(first, replicas="every"), "a")
        other = await process(stage, hearing(second, replicas="every"), "b")
        await stage.publish(moved(1), moved(2), moved(1))
        both = {"handled": 2, "repeated": 1}
        await eventually("both hear", lambda: one.counts == both and other.counts == both)
        assert (sorted(first), sorted(second)) == ([1, 2], [1, 2])


async def test_what_fails_in_one_process_is_tried_there_again_and_parked_for_all() -> None:
    first, second = list[int](), list[int]()
    async with world() as stage:
        failing = Counter({1: 1, 2: 99})
        one = await process(stage, hearing(first, failing, replicas="every"), "a", attempts=3)
        other = await process(stage, hearing(second, replicas="every"), "b")
        await stage.publish(moved(1), moved(2))
        await eventually("the other hears", lambda: other.counts == {"handled": 2})
        await eventually("it fails", lambda: one.counts == {"held back": 3, "handled": 1, "parked": 1})
        assert first == [1]
        assert await stage.parked("shop.facts.prices") == [(2, "handler failed 3 times: ValueError")]


async def test_what_a_person_puts_back_comes_to_those_that_have_not_handled_it() -> None:
    first, second = list[int](), list[int]()
    broker = MemoryBroker()
    async with world(lambda: MemoryTransport(broker, "shop")) as stage:
        one = await process(stage, hearing(first, Counter({1: 1}), replicas="every"), "a", attempts=1)
        other = await process(stage, hearing(second, replicas="every"), "b")
        await stage.publish(moved(1))
        await eventually("both have heard", lambda: one.counts["parked"] == other.counts["handled"] == 1)
        (parked,) = broker.waiting("shop.facts.prices.dead")
        broker.publish(NAMES.retry, "shop.facts.prices", parked)
        await eventually("the one handles it", lambda: one.counts["handled"] == 1)
        await eventually("the other passes", lambda: other.counts == {"handled": 1, "repeated": 1})


async def test_the_queue_of_a_process_goes_when_that_has_been_away_for_long() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "shop")
    await transport.connect()
    queue = NAMES.subscriber_queue(instance_name("prices", "a"))
    await transport.declare(topology("shop") + instance_topology(NAMES, "prices", "a", unused_for=1000))
    for seconds in (0.9, 0.9, 0.9):
        consumer = await transport.consume(queue, 1)
        await asyncio.sleep(seconds)
        await consumer.close()
        await asyncio.sleep(0.1)
    assert (await transport.attendance(queue)).state == "there"
    await asyncio.sleep(1)
    assert (await transport.attendance(queue)).state == "missing"
    await transport.publish([moved(1, source="/shop/facts")])
    await transport.declare(instance_topology(NAMES, "prices", "a"))
    assert (await transport.attendance(queue)).waiting == 0
    await transport.close()


async def test_a_role_has_a_queue_of_its_own_and_another_one_the_next_time() -> None:
    seen = list[int]()
    app = App("shop", services=[hearing(seen, replicas="every")])
    queues = [await run_and_hear(app, number, seen) for number in (1, 2)]
    assert seen == [1, 2]
    assert [len(found) for found in queues] == [1, 2]


async def run_and_hear(app: App, number: int, seen: list[int]) -> set[str]:
    """Run it until it has heard of one more; the queues of processes that there are then."""
    addresses, begun = Addresses("memory://replicas", database="memory://"), asyncio.Event()
    running = asyncio.create_task(run_role(app, "subscriber:prices", addresses, begun=lambda *_: begun.set()))
    await asyncio.wait({running, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
    async with connected(addresses, app, "test") as transport:
        await transport.declare(topology("shop", applications=["order"]))
        await transport.publish([moved(number)])
        await eventually("it hears", lambda: len(seen) == number)
        made: MemoryBroker = transport._broker  # type: ignore[attr-defined] # it is the one in memory
        running.cancel()
        await asyncio.wait({running})
        return {name for name in made._queues if "@" in name}


# --- the declaration ---


def test_the_queue_of_a_singleton_has_one_active_consumer() -> None:
    queue = topology("shop", subscribers=[Subscription("prices", replicas="singleton")]).queues[1]
    assert (queue.name, queue.arguments["x-single-active-consumer"]) == ("shop.facts.prices", True)


def test_what_is_declared_for_all_processes_holds_what_is_parked_and_hears_nothing() -> None:
    whole = topology("shop", subscribers=[Subscription("prices", replicas="every")])
    assert [queue.name for queue in whole.queues] == ["shop.facts.prices.dead"]
    own = instance_topology(NAMES, "prices", "a")
    assert isinstance(own, Topology)
    assert [queue.name for queue in own.queues] == ["shop.facts.prices@a"]


def test_each_process_may_create_its_own_queue_and_nothing_else() -> None:
    configure, write, read = rights_of(NAMES, Subscription("prices", replicas="every")).patterns
    own = r"shop\.facts\.prices@[0-9a-f]{12}"
    assert configure == f"^{own}$"
    assert own in write
    assert own in read
    assert rights_of(NAMES, Subscription("prices")).patterns[0] == "^$"


@pytest.mark.parametrize("options", [{"ordered": True}, {"queue_limit": 5}, {"from_start": True}])
def test_a_queue_that_goes_with_its_process_is_a_plain_one(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="a queue that goes with its process"):
        Service("prices", replicas="every", **options)


def test_what_is_no_word_for_replicas() -> None:
    with pytest.raises(DeclarationError, match=r"replicas='all'.*pool, every, singleton"):
        Service("prices", replicas="all")  # type: ignore[arg-type]


def test_where_each_process_hears_it_nothing_is_written_to_the_database_of_all() -> None:
    with pytest.raises(DeclarationError, match="all of them would write it"):

        @Service("prices", replicas="every").on(Moved)
        async def note(fact: Moved, db: Transaction) -> None: ...

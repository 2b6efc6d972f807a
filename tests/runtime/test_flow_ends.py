"""Rule 31: the first end that the closer commits is the one; what comes later is too late, and has no effect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from choros import App, Choreography, Fact, Refused, Service, Transaction
from choros.runtime.subscriber.closing import Closing
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import value_of
from choros.store.memory.barrier import MemoryDatabase
from choros.transport.topology import topology
from tests.runtime.participant_stage import Stage, effect, eventually, fact, stage_for


class Placed(Fact):
    order: str


class Done(Fact):
    order: str


class Short(Fact):
    order: str


class Late(Fact):
    order: str


class Undone(Fact):
    order: str


class Completed(Fact):
    order: str


class Failing(Fact):
    order: str


class Failed(Fact):
    order: str


def work() -> Service:
    service = Service("work")

    @service.on(Placed, publishes=(Done, Short, Late))
    async def do(placed: Placed, db: Transaction) -> Done: ...  # type: ignore[empty-body] # never at work here

    @service.on(Failing, undoes=Placed, publishes=Undone)
    async def undo(failing: Failing, db: Transaction) -> Undone: ...  # type: ignore[empty-body] # never at work here

    return service


def closer() -> Service:
    service = Service("orders")

    @service.on(Done, publishes=Completed)
    async def complete(done: Done, db: Transaction) -> Completed:
        await effect(db, "completed", 1)
        return Completed(order=done.order)

    @service.on(Short, publishes=Failing)
    async def fail(short: Short, db: Transaction) -> Failing:
        await effect(db, "failing", 1)
        return Failing(order=short.order)

    @service.on(Late, publishes=Failing)
    async def refuse(late: Late, db: Transaction) -> Failing:
        await effect(db, "refused", 1)
        raise Refused("late", fact=Failing(order=late.order))

    @service.on(Undone, publishes=Failed)
    async def close(undone: Undone, db: Transaction) -> Failed:
        await effect(db, "failed", 1)
        return Failed(order=undone.order)

    return service


def flow(service: Service) -> Choreography[Placed]:
    return Choreography(
        "order", start=Placed, key=lambda placed: placed.order, good=Completed, bad=Failed, turns=Failing,
        closer="orders", services=(work(), service),
    )  # fmt: skip


ABOUT: dict[str, Any] = {"flow": "order", "flow_version": 1, "flow_id": "f1", "stream": "f1", "correlation_id": "f1"}
KINDS = (Done, Short, Late, Undone)


def of(kind: type[Any], flow: str = "f1", seq: int = 0) -> Any:
    about = {**ABOUT, "flow_id": flow, "stream": flow, "correlation_id": flow}
    return fact(kind(order=flow), 1 + KINDS.index(kind) + 10 * seq, **about)


@pytest.fixture
async def stage() -> Any:
    service = closer()
    app = App("shop", services=(service, work()), choreographies=(flow(service),))
    async with stage_for(service, kind=Subscriber, start=False) as stage:
        await stage.outside.declare(topology("shop", publishers=["orders"], subscribers=["witness"]))
        given: Any = {"transport": stage.transport, "database": stage.database, "clock": lambda: stage.clock[0]}
        stage.start(Subscriber(service, namespace="shop", flows=app.flow_part("orders"), **given))
        yield stage


def told(stage: Stage) -> list[str]:
    found = [wire.read() for wire in stage.broker.waiting("shop.facts.witness")]
    return [one.type.split(".")[0] for one in found if one.source == "/shop/service/orders"]


async def after(stage: Stage, *facts: Any, left: int = 1) -> tuple[list[str], dict[str, int]]:
    """One after the other: what was told, and what was done."""
    for number, one in enumerate(facts, 1):
        await stage.publish(one)
        await eventually(lambda number=number: settled(stage) == number)  # type: ignore[misc] # bound now
    await eventually(lambda: len(told(stage)) == left)
    return told(stage), await stage.effects()


def settled(stage: Stage) -> int:
    return sum(count for name, count in stage.counts.items() if name != "passed")


@pytest.mark.parametrize("late", [Short, Late])
async def test_rule_31_a_bad_end_behind_a_good_one_is_too_late(stage: Stage, late: type[Fact]) -> None:
    assert await after(stage, of(Done), of(late)) == (["completed"], {"completed": 1})
    assert stage.counts["too late"] == 1


async def test_rule_31_a_good_end_behind_a_turn_is_too_late(stage: Stage) -> None:
    assert await after(stage, of(Short), of(Done)) == (["failing"], {"failing": 1})
    assert stage.counts["too late"] == 1


async def test_rule_31_a_bad_end_follows_its_turn_and_each_is_told_once(stage: Stage) -> None:
    facts = [of(Short), of(Late), of(Undone), of(Undone, seq=1), of(Done)]
    told_, done = await after(stage, *facts, left=2)
    assert (told_, done) == (["failing", "failed"], {"failing": 1, "failed": 1})
    assert stage.counts["too late"] == 3


async def test_what_refuses_decides_as_well(stage: Stage) -> None:
    assert await after(stage, of(Late), of(Short)) == (["failing"], {})


async def test_flows_end_by_themselves(stage: Stage) -> None:
    told_, done = await after(stage, of(Done), of(Short, "f2"), left=2)
    assert (told_, done) == (["completed", "failing"], {"completed": 1, "failing": 1})


async def test_rule_31_of_two_ends_at_once_one_wins() -> None:
    database = MemoryDatabase()
    await database.open()
    service = closer()
    app = App("shop", services=(service, work()), choreographies=(flow(service),))
    decisions = app.flow_part("orders").closes["order", 1]

    async def say(said: str) -> str:
        async def job(tx: Transaction) -> str:
            await Closing("orders", decisions, of(Done), tx, 1.0).check(said)
            return said

        (result,) = await database.run([job])
        try:
            return value_of(result)
        except Exception as error:
            return type(error).__name__

    ends = [Completed.type_name, Failing.type_name]
    found = await asyncio.gather(*(say(one) for one in ends * 3))
    assert sorted(found)[:5] == ["EndedOtherwise"] * 5


async def test_who_closes_another_flow_says_what_it_wants() -> None:
    database = MemoryDatabase()
    await database.open()

    async def job(tx: Transaction) -> None:
        for said in (Completed.type_name, Failing.type_name):
            await Closing("orders", None, of(Done), tx, 1.0).check(said)

    (result,) = await database.run([job])
    value_of(result)

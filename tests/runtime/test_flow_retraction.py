"""Rule 33: what a saga has begun early, and takes back, is taken back in the flow, which knows it for its own."""

from __future__ import annotations

import asyncio

from choros import (
    App,
    Choreography,
    Command,
    Done,
    Fact,
    Message,
    Pivot,
    Publish,
    Refused,
    Saga,
    Service,
    Transaction,
    running,
)
from tests.patience import PATIENCE


class Ask(Message):
    order: str


class Decide(Command[Done], refusals=("no",)):
    order: str


class Wanted(Fact):
    order: str


class NotWanted(Fact):
    order: str


class Cooked(Fact):
    order: str


class Served(Fact):
    order: str


def decide(ask: Ask) -> Decide:
    return Decide(order=ask.order)


def wanted(ask: Ask) -> Wanted:
    return Wanted(order=ask.order)


def not_wanted(ask: Ask) -> NotWanted:
    return NotWanted(order=ask.order)


async def test_rule_33_its_retraction_reaches_the_flow_s_undoers() -> None:
    kitchen, waiter, desk = Service("kitchen"), Service("waiter"), Service("desk")
    undone, served = list[str](), asyncio.Event()

    @desk.handles(Decide)
    async def refuse(command: Decide) -> Done:
        await served.wait()  # the flow has ended well by then
        raise Refused("no")

    @kitchen.on(Wanted, publishes=Cooked)
    async def cook(fact: Wanted, db: Transaction) -> Cooked:
        return Cooked(order=fact.order)

    @kitchen.on(NotWanted, undoes=Wanted)
    async def throw_away(fact: NotWanted, db: Transaction) -> None:
        undone.append(fact.order)

    @waiter.on(Cooked, publishes=Served)
    async def serve(fact: Cooked, db: Transaction) -> Served:
        served.set()
        return Served(order=fact.order)

    dinner = Choreography(
        "dinner", start=Wanted, key=lambda fact: fact.order, good=Served, closer="waiter", services=(kitchen, waiter),
        retraction=NotWanted,
    )  # fmt: skip
    early = Publish(wanted, early=True, retraction=not_wanted)
    saga = Saga("booking", start=Ask, key=lambda ask: ask.order, steps=(early, Pivot(decide, to="desk")))
    app = App("shop", name="front", sagas=(saga,), services=(kitchen, waiter, desk), choreographies=(dinner,))
    async with running(app) as client:
        outcome = await client.run(saga, Ask(order="o1"))
        assert outcome.status == "compensated"
        async with asyncio.timeout(PATIENCE):
            while not undone:
                await asyncio.sleep(0.01)
    assert undone == ["o1"]

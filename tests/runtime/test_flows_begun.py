"""Rule 38: what a flow needs is on the broker before its first fact; and who begins flows."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from choros import Addresses, App, Call, FactLog, Program, Service, UsageError, publisher_of, running
from choros.roles.roles import open_role
from choros.transport.topology import Topology
from tests.runtime.test_flow_identity import Closed, Placed, closing, flow_of, payment


class Ends:
    """Hears how flows end."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.service = Service("witness")

        @self.service.on(Closed)
        async def note(closed: Closed) -> None:
            self.heard.put_nowait(closed.order)

    async def next(self) -> str:
        async with asyncio.timeout(60):
            return await self.heard.get()


def shop(namespace: str, ends: Ends, fact_log: FactLog | None = None) -> App:
    pay, orders = payment(), closing()
    return App(
        namespace, name="front", services=(pay, orders, ends.service), choreographies=(flow_of(1, pay, orders),),
        programs=(Program("till", publishes=Placed),), fact_log=fact_log,
    )  # fmt: skip


async def test_a_client_begins_a_flow_in_an_application_without_sagas() -> None:
    ends = Ends()
    app = shop("shop", ends)
    flow = app.choreography("order")
    async with running(app) as client:
        first = await client.begin(flow, Placed(order="o1"))
        assert await ends.next() == "o1"
        assert await client.begin(flow, Placed(order="o1")) == first
        assert await client.begin(flow, Placed(order="o1"), run=2) != first
        assert await ends.next() == "o1"  # the other run; the repeated start was passed over
        await client.begin(flow, Placed(order="o2"))
        assert await ends.next() == "o2"


async def test_a_flow_is_begun_with_headers_and_whoever_reacts_says_them_again() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    witness = Service("listener")

    @witness.on(Closed)
    async def note(closed: Closed, call: Call) -> None:
        heard.put_nowait(str(dict(call.headers)))

    pay, orders = payment(), closing()
    flow = flow_of(1, pay, orders)
    app = App("shop", services=(pay, orders, witness), choreographies=(flow,))
    async with running(app) as client, asyncio.timeout(60):
        await client.with_headers({"tenant": "acme"}).begin(flow, Placed(order="o1"))
        assert await heard.get() == "{'tenant': 'acme'}"


async def test_a_flow_of_another_application_is_not_begun() -> None:
    async with running(shop("shop", Ends())) as client:
        with pytest.raises(UsageError, match="no part of this application"):
            await client.begin(flow_of(), Placed(order="o1"))


def failing(message: object) -> str:
    raise KeyError


async def test_a_key_that_fails_is_the_declarations_mistake() -> None:
    pay, orders = payment(), closing()
    flow = flow_of(1, pay, orders)
    flow.key = failing
    app = App("shop", services=(pay, orders), choreographies=(flow,))
    async with running(app) as client:
        with pytest.raises(UsageError, match="The key of choreography 'order' failed: KeyError"):
            await client.begin(flow, Placed(order="o1"))


@pytest.mark.parametrize(("role", "hint"), [("service:witness", "subscriber:witness"), ("subscriber:idle", "look at")])
async def test_who_has_nothing_to_do_is_told_as_what_he_has(role: str, hint: str) -> None:
    idle = Service("idle")
    app = App("shop", services=(Ends().service, idle))
    async with AsyncExitStack() as stack:
        with pytest.raises(UsageError, match=f"has nothing to do as .*{hint}"):
            await open_role(app, role, Addresses("memory://", "memory://", "memory://"), stack)


async def test_rule_38_what_is_begun_before_anybody_is_there_is_found_by_those_who_come() -> None:
    ends, addresses = Ends(), Addresses("memory://rule-38", "memory://", "sqlite:///:memory:")
    app = shop("shop", ends)
    async with publisher_of(app, "till", addresses) as publisher:
        await publisher.begin(app.choreography("order"), Placed(order="o1"))
        transport: Any = publisher._transport
        names = {queue: len(held.ready) for queue, held in transport._broker._queues.items()}
    assert names["shop.facts.payment"] == names["shop.facts.orders"] == 1


async def test_who_begins_a_flow_has_the_log_there_which_alone_keeps_its_first_fact() -> None:
    app = shop("shop", Ends(), FactLog())
    async with publisher_of(app, "till", Addresses("memory://log", "memory://", "sqlite:///:memory:")) as publisher:
        await publisher.begin(app.choreography("order"), Placed(order="o1"))
        kept = cast("Any", publisher)._transport._broker.replay("shop.facts.log", 10, None)
        assert [held.wire.read().type for _, held in kept.inbox.waiting] == [Placed.type_name]


async def test_its_start_is_not_published_without_its_flow() -> None:
    app = shop("shop", Ends())
    async with publisher_of(app, "till", Addresses("memory://", "memory://", "memory://")) as publisher:
        with pytest.raises(UsageError, match="begins choreography 'order'"):
            await publisher.publish(Placed(order="o1"), key="o1")


async def test_rule_38_who_cannot_have_it_there_begins_nothing() -> None:
    app = shop("shop", Ends(), FactLog())
    async with running(app) as client:
        beginning = cast("Any", client)._beginning
        transport = Refusing()
        beginning._transport = transport
        with pytest.raises(UsageError, match="not there"):
            await client.begin(app.choreography("order"), Placed(order="o1"))
    queues = {queue.name for queue in transport.asked[0].queues}
    assert {"shop.facts.payment", "shop.facts.orders", "shop.facts.log"} <= queues
    assert not transport.published


class Refusing:
    """A broker on which nothing may be declared."""

    def __init__(self) -> None:
        self.asked: list[Topology] = []
        self.published: list[object] = []

    async def declare(self, needed: Topology) -> None:
        self.asked.append(needed)
        raise UsageError("The queue is not there.")

    async def publish(self, facts: Any) -> Any:
        self.published += facts

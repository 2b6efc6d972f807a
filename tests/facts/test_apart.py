"""Two services, two subscribers and two namespaces on one database: each hears and does all, none touches the others'.

The facts and commands of both namespaces are the same to the last id, as they are where the same orders are played
through a staging and a production that share a server.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from choros import cli
from choros.app.service import Service
from choros.desk.republish import released
from choros.messages import Fact
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database, Row, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.testing.conformance.barrier import writing
from choros.testing.conformance.stage import reply
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, decode
from tests.facts.stage import Moved, eventually, moved, world
from tests.facts.test_republishing import stored
from tests.runtime.participant_stage import NOW, Charge, Charged, command

Opening = Callable[[str], Awaitable[Database]]
NAMESPACES, NAMES = ("blue", "green"), ("mail", "stats")
EVERYBODY = {(namespace, name) for namespace in NAMESPACES for name in NAMES}
FACTS = [moved(number) for number in (1, 2, 3, 4)]
SCOPES = {"a scope for each": "{namespace}.{service}", "subscribers in one scope": "{namespace}"}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ordered": {"ordered": True},
    "from the start of the log": {"from_start": True},
    "with a bounded queue": {"queue_limit": 100},
    "forgetting": {"remember": timedelta(days=30)},
}


class Taken(Fact, name="charge"):
    """Its path as a reaction is one that a command may have."""

    step: int


class Withdrawn(Fact, name="facts.withdrawn"):
    """What takes it back."""

    step: int


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opening]:
    """Opens a database with this scope; all of them are on the same tables."""
    shared = MemoryDatabase()
    server = [request.getfixturevalue(name) for name in ("redis_url", "namespace")] if request.param == "redis" else []
    async with AsyncExitStack() as stack:

        async def opening(scope: str) -> Database:
            database: Database = MemoryDatabase(shared, namespace=scope)
            if request.param == "sqlite":
                database = SqliteDatabase(tmp_path / "one.db", scope)
            elif server:
                database = RedisDatabase(server[0], f"{server[1]}.{scope}")
            await database.open()
            stack.push_async_callback(database.close)
            return database

        yield opening


@dataclass
class Heard:
    """What was done, by whom."""

    facts: list[tuple[str, str, str]] = field(default_factory=list)

    def by_all(self, *what: str) -> bool:
        """Whether everybody has done this, each once."""
        return Counter(self.facts) == Counter((*who, one) for who in EVERYBODY for one in what)

    def service(self, namespace: str, name: str, **options: Any) -> Service:
        """Somebody who hears facts."""
        service = Service(name, **options)

        @service.on(Moved)
        async def hear(fact: Moved, db: Transaction) -> None:
            self.facts.append((namespace, name, f"moved {fact.step}"))

        return service

    def undoes(self, namespace: str, service: Service) -> None:
        """What it does about a fact can be taken back."""

        @service.on(Withdrawn, undoes=Moved)
        async def undo(fact: Withdrawn, db: Transaction) -> None:
            self.facts.append((namespace, service.name, "undone"))


@pytest.fixture(params=list(SCOPES.values()), ids=list(SCOPES))
async def worlds(request: pytest.FixtureRequest, opening: Opening) -> AsyncIterator[Any]:
    """Makes the world of a namespace, and says which database a service of it has."""
    async with AsyncExitStack() as stack:

        async def made(namespace: str) -> tuple[Any, Opening]:
            stage = await stack.enter_async_context(world(namespace=namespace))
            return stage, lambda service: opening(request.param.format(namespace=namespace, service=service))

        yield made


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
async def test_every_subscriber_hears_every_fact_once(worlds: Any, kind: dict[str, Any]) -> None:
    heard, subscribers = Heard(), list[Subscriber]()
    for namespace in NAMESPACES:
        stage, database = await worlds(namespace)
        for name in NAMES:
            await stage.bind(heard.service(namespace, name, **kind))
        await stage.publish(*FACTS, *FACTS)
        for name in NAMES:
            stage.database = await database(name)
            subscribers.append(await stage.start(heard.service(namespace, name, **kind), clock=lambda: 5.0))
    await eventually("all have heard all", lambda: heard.by_all("moved 1", "moved 2", "moved 3", "moved 4"))
    await eventually("all is settled", lambda: all(one.counts["repeated"] >= 4 for one in subscribers))
    await eventually("and handled once", lambda: all(one.counts["handled"] >= 4 for one in subscribers))
    assert all(one.counts["handled"] == 4 for one in subscribers)


async def test_every_subscriber_undoes_what_it_did_and_nobody_elses(worlds: Any) -> None:
    """One has the fact first, then what takes it back; the other the other way round."""
    heard, subscribers = Heard(), dict[tuple[str, str], Subscriber]()
    done, undone = moved(1), moved(2, type=Withdrawn.type_name)
    for namespace in NAMESPACES:
        for name, order in zip(NAMES, ([done, undone], [undone, done]), strict=True):
            stage, database = await worlds(namespace)
            service = heard.service(namespace, name)

            heard.undoes(namespace, service)
            stage.database = await database(name)
            await stage.bind(service)
            await stage.publish(*order)
            subscribers[namespace, name] = await stage.start(service, prefetch=1)
    await eventually("all is settled", lambda: all(sum(one.counts.values()) == 2 for one in subscribers.values()))
    both = [(namespace, "mail", what) for namespace in NAMESPACES for what in ("moved 1", "undone")]
    assert Counter(heard.facts) == Counter(both)
    assert all(one.counts["withdrawn"] == (2 if who[1] == "stats" else 0) for who, one in subscribers.items())


async def test_an_inbox_lacks_what_only_another_subscriber_has_heard(worlds: Any) -> None:
    heard, store = Heard(), MemoryStore()
    stage, database = await worlds("blue")
    mail, stats = (heard.service("blue", name) for name in NAMES)
    stage.database = await database("mail")
    await stage.start(mail)
    await stage.publish(*FACTS)
    await eventually("it has heard all", lambda: len(heard.facts) == 4)
    await store.open()
    await stored(store, "s1", (1.0, FACTS))
    assert len((await cli.facts._missed_by(mail, await database("mail"), partial(released, store, 0.0), 0.0))[2]) == 0
    name, total, lacking = await cli.facts._missed_by(
        stats, await database("stats"), partial(released, store, 0.0), 0.0
    )
    assert (name, total, len(lacking)) == ("stats", 4, 4)


# --- commands ---------------------------------------------------------------------------------------------------------

SERVICES = ("payment", "billing")


class Shop:
    """A namespace: its broker, its services with their databases, and the replies that came."""

    def __init__(self, namespace: str, opening: Opening) -> None:
        self.names, self._opening, self._broker = Names(namespace), opening, MemoryBroker()
        self.calls: list[str] = []
        self._parts: list[tuple[Participant | Subscriber, asyncio.Task[None]]] = []

    async def __aenter__(self) -> Shop:
        self.outside = await self._transport()
        namespace = self.names.namespace
        await self.outside.declare(topology(namespace, services=SERVICES, subscribers=SERVICES, applications=["order"]))
        return self

    async def __aexit__(self, *_: object) -> None:
        for part, task in self._parts:
            await part.stop()
            await task

    async def _transport(self) -> MemoryTransport:
        transport = MemoryTransport(self._broker, self.names.namespace)
        await transport.connect()
        return transport

    async def start(self, name: str) -> None:
        """Carry out the commands of a service, and react to facts."""
        database = await self._opening(f"{self.names.namespace}.{name}")
        for kind in (Participant, Subscriber):
            more: dict[str, Any] = {"namespace": self.names.namespace, "transport": await self._transport()}
            part = kind(self._service(name), database=database, clock=lambda: NOW, **more)
            self._parts.append((part, asyncio.create_task(part.run())))

    def _service(self, name: str) -> Service:
        service = Service(name)

        @service.handles(Charge)
        async def charge(command: Charge, db: Transaction) -> Charged:
            self.calls.append(f"{name} charges")
            return Charged(payment=name)

        @service.on(Taken)
        async def take(fact: Taken, db: Transaction) -> None:
            self.calls.append(f"{name} has heard")

        @service.on(Withdrawn, undoes=Taken)
        async def give_back(fact: Withdrawn, db: Transaction) -> None:
            self.calls.append(f"{name} has undone")

        return service

    def replies(self) -> list[Envelope]:
        """All that came."""
        return [decode(wire) for wire in self._broker.waiting(self.names.reply_queue("order"))]


@pytest.fixture
async def shops(opening: Opening) -> AsyncIterator[list[Shop]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Shop(namespace, opening)) for namespace in NAMESPACES]


async def test_every_service_carries_out_every_command_and_answers_it(shops: list[Shop]) -> None:
    for shop in shops:
        reply_to = shop.names.reply_queue("order")
        sent = [command(Charge(order="1"), id="c1", to=name, reply_to=reply_to) for name in SERVICES]
        again = [replace(one, id="c2", data=one.data + " ") for one in sent]  # not the same words: a call of its own
        await shop.outside.send([*sent, *again])
        for name in SERVICES:
            await shop.start(name)
    await eventually("all is answered", lambda: all(len(shop.replies()) == 4 for shop in shops))
    for shop in shops:
        assert sorted(shop.calls) == ["billing charges", "payment charges"]
        sources = Counter(one.source for one in shop.replies())
        assert sources == {f"/{shop.names.namespace}/{name}": 2 for name in SERVICES}


async def test_every_service_sends_its_own_unsent_replies_only(shops: list[Shop], opening: Opening) -> None:
    for shop in shops:
        for name in SERVICES:
            left = replace(reply(shop.names.reply_queue("order")), source=f"/{shop.names.namespace}/{name}")
            database = await opening(f"{shop.names.namespace}.{name}")
            await database.run([writing(Row(key="s1:charge:1:do", state="ok", content=left.dumps()))])
    for shop in shops:
        await shop.start("payment")
    await eventually("they are sent", lambda: all(shop.replies() for shop in shops))
    assert [[one.source for one in shop.replies()] for shop in shops] == [["/blue/payment"], ["/green/payment"]]
    for namespace in NAMESPACES:
        assert len(await (await opening(f"{namespace}.billing")).unsent(9)) == 1


async def test_a_reaction_is_no_command_though_they_have_one_name(shops: list[Shop]) -> None:
    shop, taken = shops[0], moved(1, type=Taken.type_name)
    await shop.start("payment")
    await shop.outside.publish([taken])
    await eventually("it is heard", lambda: shop.calls == ["payment has heard"])
    key, reply_to = f"s1:{Taken.type_name}:1:do", shop.names.reply_queue("order")
    await shop.outside.send([command(Charge(order="1"), key=key, step="v1", to="payment", reply_to=reply_to)])
    await eventually("it is answered", lambda: len(shop.replies()) == 1)
    assert (shop.calls, shop.replies()[0].outcome) == (["payment has heard", "payment charges"], "ok")

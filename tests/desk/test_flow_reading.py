"""A flow gathered from where it is kept: outboxes, inboxes, stores, the fact log, dead letters; and what cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from choros import Addresses, Done, Fact, Service, all_of
from choros.app.flow_part import FlowPart
from choros.desk.flow_reading import FlowReading, OutboxFacts, SagaFacts, ServiceInbox
from choros.desk.flow_tree import FactNode, FlowRows, FlowTree, InboxNote, SagaNode, TracedFact, flow_tree
from choros.desk.hearsay import hearsay_of
from choros.desk.log_facts import LogFacts
from choros.errors import BrokerMisconfigured, BrokerUnreachable, StoreUnreachable
from choros.roles.addresses import connected, database_of
from choros.roles.roles import open_role, publisher_of, run_together, stop_all
from choros.runtime.client.program_facts import about_id, program_source
from choros.runtime.host.outbox_rows import OutboxRows, marked
from choros.runtime.subscriber.effect_rows import EffectRows
from choros.runtime.subscriber.inbox import handled_row
from choros.sources import fresh_id, now, saga_id_for
from choros.store.barrier import Database, Transaction, value_of
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.store.memory.sagas import MemoryStore
from choros.testing.conformance.records import creation, stored
from choros.transport.inspection import LookingTransport
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, encode
from tests.desk import flow_app
from tests.desk.flow_app import Charged, Damaged, Held, Placed
from tests.end_to_end.shop import until
from tests.facts.stage import moved
from tests.runtime.checkout import CheckedOut, shop_app, told
from tests.runtime.test_nested import begun, played
from tests.saga import credit

NAMES = Names("shop")


@pytest.fixture
async def database() -> AsyncIterator[MemoryDatabase]:
    database = MemoryDatabase()
    await database.open()
    yield database
    await database.close()


async def written(database: Database, service: str, *facts: Charged, about: Envelope) -> None:
    async def write(transaction: Transaction) -> None:
        rows = OutboxRows("shop", service, about, transaction, now)
        for fact in facts:
            await rows.fact(fact)

    (result,) = await database.run([write])
    value_of(result)


async def changed(database: Database, **rows: str) -> None:
    """Write what was published anew: `left`, or `torn`."""

    leaving = await database.listed("publishing", 9)

    async def change(transaction: Transaction) -> None:
        for row in leaving:
            said = rows.get(f"seq{row.key[-1]}")
            if said == "left":
                await transaction.write_row(marked(row))
            elif said == "torn":
                await transaction.write_row(row.keeping("{"))

    (result,) = await database.run([change])
    value_of(result)


# --- one place at a time ----------------------------------------------------------------------------------------------


async def test_an_outbox_tells_what_has_left_and_what_has_not(database: MemoryDatabase) -> None:
    about = moved(1, "o1")
    await written(database, "books", *(Charged(order=str(n)) for n in range(3)), about=about)
    await written(database, "others", Charged(order="of another service"), about=about)
    await written(database, "books", Charged(order="another flow"), about=moved(1, "o2"))
    await changed(database, seq1="left", seq2="torn")
    found = await OutboxFacts("books", database).facts(["o1", "unknown"])
    assert [(one.envelope.seq, one.leaving) for one in found] == [(1, False), (3, True)], (
        "what cannot be read is not it"
    )
    assert {one.envelope.source for one in found} == {"/shop/service/books"}
    assert {one.places for one in found} == {("the outbox of books",)}


async def test_an_inbox_tells_what_is_handled_and_what_it_may_have_forgotten(database: MemoryDatabase) -> None:
    done, lacking, old = moved(1, time=100.0), moved(2, time=100.0), moved(3, time=5.0)

    async def handle(transaction: Transaction) -> None:
        await transaction.write_row(handled_row("news", done, 123.0))
        await transaction.write_row(handled_row("news", moved(1, "gone", time=10.0), 11.0))
        await transaction.write_row(handled_row("other", lacking, 123.0))

    await database.run([handle])
    assert await database.forget("facts", 50.0) == 1
    notes = await ServiceInbox(Service("news"), database).notes([done, lacking, old])
    assert notes[done.id] == InboxNote(handled=True, at=123.0)
    assert notes[lacking.id] == InboxNote(handled=False)
    assert notes[old.id] == InboxNote(handled=False, forgotten=True)


def packer() -> Service:
    """Packs once an order is charged and held; what is damaged takes that back."""
    service = Service("packer")

    @service.on(all_of(Charged, Held))
    async def pack(charged: Charged, held: Held, db: MemoryTransaction) -> None: ...

    @service.on(Damaged, undoes=all_of(Charged, Held))
    async def unpack(fact: Damaged, db: MemoryTransaction) -> None: ...

    @service.on(Placed)
    async def note(fact: Placed, db: MemoryTransaction) -> None: ...

    return service


async def taken(database: Database, service: Service, *facts: Envelope, refuses: bool = False) -> None:
    """What the rows are once these have come."""

    async def take(fact: Envelope, transaction: Transaction) -> None:
        rows = EffectRows(service.name, service.reactions, service.reactions[fact.type], fact, transaction, 5.0)
        if fact.type != Placed.type_name:
            await rows.admit()
            await (rows.leave("refused") if refuses else asyncio.sleep(0))
        await transaction.write_row(handled_row(service.name, fact, 5.0))

    for fact in facts:
        (result,) = await database.run([partial(take, fact)])
        value_of(result)


def of_order(kind: type[Fact], seq: int, **more: Any) -> Envelope:
    return moved(seq, "o1", type=kind.type_name, data='{"order":"o1"}', time=100.0, **more)


@pytest.mark.parametrize(
    ("kinds", "effects"),
    [
        ([Charged], ["waiting"]),
        ([Charged, Held], ["ok", "ok"]),
        ([Charged, Held, Damaged], ["ok", "ok", "ok"]),
        ([Damaged], ["tombstone"]),
        ([Charged, Damaged], ["tombstone", "tombstone"]),
        ([Placed], [None]),
    ],
)
async def test_an_inbox_tells_how_far_what_is_done_has_come(
    database: MemoryDatabase, kinds: list[type[Fact]], effects: list[str | None]
) -> None:
    facts = [of_order(kind, seq) for seq, kind in enumerate(kinds, 1)]
    await taken(database, packer(), *facts)
    notes = await ServiceInbox(packer(), database).notes(facts)
    assert [notes[fact.id].effect for fact in facts] == effects
    elsewhere = await ServiceInbox(Service("packer", facts=kinds), database).notes(facts)
    assert {note.effect for note in elsewhere.values()} == {None}, "its handlers are not known here"


async def test_an_inbox_tells_that_it_was_refused(database: MemoryDatabase) -> None:
    facts = [of_order(Charged, 1), of_order(Held, 2)]
    await taken(database, packer(), *facts, refuses=True)
    notes = await ServiceInbox(packer(), database).notes(facts)
    assert {notes[fact.id].effect for fact in facts} == {"refused"}


async def test_an_inbox_tells_what_its_subscriber_does_not_want(database: MemoryDatabase) -> None:
    picky = Service("packer")

    @picky.on(Charged, where={"order": "o2"})
    async def pack(charged: Charged, db: MemoryTransaction) -> None: ...

    @picky.on(Held)
    async def hold(held: Held, db: MemoryTransaction) -> None: ...

    facts = [of_order(Charged, 1), of_order(Held, 2), of_order(Held, 3, flow="order", flow_version=1, flow_id="o1")]
    part = FlowPart(heard={Held.type_name: frozenset({("order", 1)})})
    notes = await ServiceInbox(picky, database, part).notes(facts)
    assert [notes[fact.id].passed_over for fact in facts] == [True, True, False]


async def test_the_log_holds_the_flows_that_a_saga_has_begun_by_their_correlation() -> None:
    async with logged() as transport:
        begun = moved(1, "flow-1", correlation_id="s1", flow="order", flow_version=1, flow_id="flow-1")
        await transport.publish([begun, moved(1, "other")])
        reading = FlowReading(facts=[LogFacts(transport, NAMES, None)], inboxes=[], sagas=[], hearers={})
        assert list((await reading.read(["s1"])).facts) == [begun.id]
        assert reading._ids == {"s1", "flow-1"}, "and what is told of that one elsewhere is asked for as well"


@asynccontextmanager
async def logged(*, log: bool = True) -> AsyncIterator[MemoryTransport]:
    transport = MemoryTransport(MemoryBroker(), "shop")
    await transport.connect()
    needed = topology("shop", applications=["order"], fact_log=flow_app.app.fact_log if log else None)
    await transport.declare(needed)
    yield transport
    await transport.close()


async def test_the_log_is_read_up_to_now_and_no_further() -> None:
    async with logged() as transport:
        facts = [moved(seq, stream) for seq in (1, 2) for stream in ("o1", "o2")]
        await transport.publish(facts)
        await transport.mark("of somebody else")
        heard: list[int] = []
        found = await LogFacts(transport, NAMES, None, heard.append).facts(["o1"])
        assert [one.envelope.id for one in found] == [facts[0].id, facts[2].id]
        assert found[0].places == ("the fact log",)
        assert await LogFacts(transport, NAMES, None).facts(["o3"]) == []


async def test_what_came_by_anothers_way_is_not_in_it() -> None:
    async with logged() as transport:
        await transport.declare(topology("shop", publishers=["till", "thief"], fact_log=flow_app.app.fact_log))
        said = moved(1, "o1", source="/shop/service/till")
        await transport.post(NAMES.way_of("fact", "/shop/service/thief"), "", encode(said))
        assert await LogFacts(transport, NAMES, None).facts(["o1"]) == []
        await transport.post(NAMES.way_of("fact", "/shop/service/till"), "", encode(said))
        assert len(await LogFacts(transport, NAMES, None).facts(["o1"])) == 1


async def test_without_a_log_or_with_a_broker_that_takes_no_mark_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with logged(log=False) as transport:
        with pytest.raises(BrokerMisconfigured, match="no fact log"):
            await LogFacts(transport, NAMES, None).facts(["o1"])

        async def nacked(_: str) -> Published:
            return Published.NACKED

        monkeypatch.setattr(transport, "mark", nacked)
        with pytest.raises(BrokerUnreachable, match="did not take a mark"):
            await LogFacts(transport, NAMES, None).facts(["o1"])


async def test_a_log_that_is_closed_meanwhile_is_not_taken_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async with logged() as transport:
        replay = transport.replay

        async def closed(*given: Any) -> Any:
            reader = await replay(*given)
            await reader.close()
            return reader

        monkeypatch.setattr(transport, "replay", closed)
        with pytest.raises(BrokerUnreachable, match="before its end"):
            await LogFacts(transport, NAMES, None).facts(["o1"])


async def test_a_store_tells_its_sagas_and_which_a_fact_begins() -> None:
    store, app = MemoryStore(), shop_app()
    await store.open()
    saga_id = saga_id_for("shop.shop.order", "o1")
    await stored(store, creation(saga_id, key="o1", saga="order"))
    facts = SagaFacts(app, store, None)
    starts, missed = (told(CheckedOut(order_id=order, total=1)) for order in ("o1", "o2"))
    unfit = told(data="{")
    assert facts.begun_by([starts, unfit, moved(1)]) == {starts.id: [saga_id], unfit.id: []}
    notes = await facts.notes([starts, missed, moved(1)])
    assert {id: note.handled for id, note in notes.items()} == {starts.id: True, missed.id: False}
    assert list(await facts.refers("o1")) == [saga_id]
    assert list(await facts.refers("nobody")) == []
    (saga,) = await facts.sagas([saga_id, "unknown"])
    assert (saga.record.saga_id, saga.steps) == (saga_id, ())


# --- together ---------------------------------------------------------------------------------------------------------


class Told:
    """A place that holds these facts, or fails."""

    def __init__(self, name: str, *facts: TracedFact, fails: Exception | None = None) -> None:
        self.name, self._facts, self._fails = name, facts, fails

    async def facts(self, ids: Collection[str]) -> Sequence[TracedFact]:
        if self._fails:
            raise self._fails
        return self._facts

    async def notes(self, facts: Sequence[Envelope]) -> Mapping[str, InboxNote]:
        raise self._fails or AssertionError("is not asked about facts that are none of its own")


async def test_a_place_that_fails_is_named_once_and_the_others_are_read() -> None:
    said = moved(1, "o1", type=Placed.type_name)
    away = StoreUnreachable("It is away.")
    reading = FlowReading(
        facts=[
            Told("the log", fails=away),
            Told("a", TracedFact(said, ("a",), True)),
            Told("b", TracedFact(said, ("b",))),
        ],
        inboxes=[Told("payment", fails=away), Told("mails")],
        sagas=[],
        hearers=hearsay_of([flow_app.app]).hearers,
        unreached=["the broker"],
    )
    rows = await reading.read(["o1"])
    assert rows.unreached == ["the broker", "the log: It is away.", "payment: It is away."]
    assert rows.facts == {said.id: TracedFact(said, ("a", "b"), False)}, "who has it from a broker knows that it left"
    assert rows.notes == {}


@asynccontextmanager
async def at_work(addresses: Addresses, *services: str) -> AsyncIterator[None]:
    """These roles of the application, in this process."""
    async with AsyncExitStack() as stack:
        parts = [
            part
            for service in services
            for part in await open_role(flow_app.app, f"subscriber:{service}", addresses, stack)
        ]
        loops = asyncio.create_task(run_together(parts))
        try:
            yield
        finally:
            await stop_all(parts)
            await loops


class Desk:
    """Everything that can be read of the application, open."""

    def __init__(self, transport: LookingTransport, databases: Mapping[str, Database]) -> None:
        self._transport, self._databases = transport, databases
        self._hearsay = hearsay_of([flow_app.app])

    async def rows(self, key: str) -> FlowRows:
        names = Names("flow")
        reading = FlowReading(
            facts=[
                LogFacts(self._transport, names, None),
                *(OutboxFacts(name, one) for name, one in self._databases.items()),
            ],
            inboxes=[ServiceInbox(flow_app.app.services[name], one) for name, one in self._databases.items()],
            sagas=[],
            hearers=self._hearsay.hearers,
        )
        await reading.read([about_id(program_source("flow", "till"), key)])
        await reading.ask_broker(self._transport, names)
        return reading.rows

    async def tree(self, key: str) -> FlowTree:
        return flow_tree(await self.rows(key), self._hearsay.hearers)


@asynccontextmanager
async def desk(addresses: Addresses) -> AsyncIterator[Desk]:
    app, databases = flow_app.app, dict[str, Database]()
    async with connected(addresses, app, "desk") as transport, AsyncExitStack() as stack:
        await transport.declare(app.topology)
        for name, service in app.services.items():
            databases[name] = database_of(app, service, addresses.database)
            await databases[name].open()
            stack.push_async_callback(databases[name].close)
        yield Desk(transport, databases)


def heard(tree: FlowTree) -> list[tuple[int, str, str, str]]:
    """Depth, fact, subscriber and how far it is."""
    found: list[tuple[int, str, str, str]] = []

    def walk(nodes: Sequence[Any], depth: int) -> None:
        for node in nodes:
            assert not isinstance(node, SagaNode)
            for one in node.reactions:
                found.append((depth, node.fact.envelope.type, one.hearer.name, one.standing))
                walk(one.then, depth + 1)

    walk(tree.roots, 0)
    return found


FAILED_IN_SHIPPING = [
    (0, "flow.placed.v1", "payment", "handled"),
    (1, "flow.charged.v1", "inventory", "handled"),
    (2, "flow.held.v1", "shipping", "handled"),
    (3, "flow.damaged.v1", "payment", "handled"),
    (4, "flow.refunded.v1", "mails", "handled"),
    (3, "flow.damaged.v1", "inventory", "handled"),
]


async def test_a_flow_that_failed_in_shipping_and_one_whose_inventory_is_down(tmp_path: Path) -> None:
    addresses = Addresses(f"memory://{fresh_id()}", database=f"sqlite:///{tmp_path}/{{service}}.db")
    async with (
        desk(addresses) as seen,
        at_work(addresses, "payment", "shipping", "mails"),
        publisher_of(flow_app.app, "till", addresses) as till,
    ):

        async def undone() -> bool:
            return heard(await seen.tree("o1d")) == FAILED_IN_SHIPPING

        async with at_work(addresses, "inventory"):
            await till.publish(Placed(order="o1d"), key="o1d")
            await until("all of it is undone, and told", undone)
        await till.publish(Placed(order="o2"), key="o2")
        await until("inventory lacks it", lambda: ends(seen, "o2", ["inventory missing"]))
        (missing,) = (await seen.tree("o2")).open
        assert missing.fact.type == "flow.charged.v1"
        assert missing.reaction.since == missing.fact.time
        assert missing.reaction.why.startswith("nobody consumes flow.facts.inventory, where ")
        async with at_work(addresses, "inventory"):
            await until("it has come", lambda: ends(seen, "o2", []))


async def ends(seen: Desk, key: str, standings: list[str]) -> bool:
    tree = await seen.tree(key)
    known = [f"{one.reaction.hearer.name} {one.reaction.standing}" for one in tree.to_come]
    return bool(tree.roots) and known == standings and any(fact != "flow.placed.v1" for _, fact, _, _ in heard(tree))


async def test_what_cannot_be_told_a_fact_is_parked_and_found(tmp_path: Path) -> None:
    addresses = Addresses(f"memory://{fresh_id()}", database=f"sqlite:///{tmp_path}/{{service}}.db")
    async with desk(addresses) as seen, publisher_of(flow_app.app, "till", addresses) as till:
        await till.publish(Placed(order="o3"), key="o3")
        queue = Names("flow").subscriber_queue("payment")
        consumer = await seen._transport.consume(queue, 1)
        (delivery,) = await consumer.receive(1)
        await delivery.dead_letter("ValueError: no such customer")
        await consumer.close()
        (parked,) = (await seen.tree("o3")).open
        assert (parked.reaction.standing, parked.reaction.why) == ("parked", "ValueError: no such customer")
        assert parked.reaction.since is not None
        assert abs(parked.reaction.since - now()) < 3600


async def test_a_saga_that_is_undone_is_followed_into_the_one_that_is_nested_in_it() -> None:
    async with played() as play:
        _, saga_id = await begun(play)
        await play.does("bank", credit.Held())
        await play.does("books", credit.Noted())
        await play.refuses("lorries", "no_lorry")
        for service in ("books", "bank", "stock"):
            await play.does(service, Done())
        await play.ends(saga_id, "compensated")
        hearsay = hearsay_of([play.app])
        sagas = SagaFacts(play.app, play.store, None)
        reading = FlowReading(facts=[], inboxes=[], sagas=[sagas], hearers=hearsay.hearers)
        (root,) = flow_tree(await reading.read(await sagas.refers(saga_id)), hearsay.hearers).roots
        assert isinstance(root, SagaNode)
        steps = {(one.path, one.operation): (one.service, one.came_to) for one in root.saga.steps}
        assert steps["ship", "do"] == ("lorries", "refused")
        assert steps["hold_stock", "undo"] == ("stock", "undone")
        nested = next(one for one in root.then if isinstance(one, SagaNode))
        assert nested.saga.record.saga_id == play.nested(saga_id)
        assert {(one.path, one.operation) for one in nested.saga.steps} >= {("note_credit", "undo")}
        assert [one.fact.envelope.type for one in root.then if isinstance(one, FactNode)] == ["order-off.v1"]

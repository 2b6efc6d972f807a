"""Rules 28, 35 and 40: which flow a fact belongs to, who says so, and who acts on it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from choros import (
    App,
    Choreography,
    Command,
    Done,
    Fact,
    FactPublisher,
    Message,
    Outbox,
    Pivot,
    Program,
    Saga,
    Service,
    Transaction,
    UsageError,
    WrongFact,
    all_of,
    running,
)
from choros.app.flow_part import FlowPart, flow_id
from choros.errors import BrokerUnreachable
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire.envelope import Envelope, Wire, decode, encode
from tests.runtime.participant_stage import NOW, Stage, command, effect, eventually, fact, stage_for
from tests.runtime.test_publisher import Line


class Placed(Fact):
    order: str


class Charged(Fact):
    order: str


class Packed(Fact):
    order: str


class Closed(Fact):
    order: str


class Begin(Command[Done]):
    order: str


class Order(Message):
    order: str


def payment() -> Service:
    service = Service("payment")

    @service.on(Placed, publishes=Charged)
    async def charge(placed: Placed, db: Transaction) -> Charged:
        await effect(db, placed.order, 1)
        return Charged(order=placed.order)

    return service


def closing() -> Service:
    service = Service("orders")

    @service.on(all_of(Placed, Charged), publishes=Closed)
    async def close(placed: Placed, charged: Charged, db: Transaction) -> Closed:
        await effect(db, f"closed {charged.order}", 1)
        return Closed(order=placed.order)

    return service


def flow_of(version: int = 1, *services: Service) -> Choreography[Placed]:
    members = services or (payment(), closing())
    return Choreography(
        "order", version=version, start=Placed, key=lambda placed: placed.order, good=Closed, closer="orders",
        services=members,
    )  # fmt: skip


TILL = Program("till", publishes=(Placed, Closed))


async def begun(order: str = "o1", *, version: int = 1, **more: Any) -> Envelope:
    line = Line()
    publisher = FactPublisher(TILL, namespace="shop", transport=cast("Any", line), clock=lambda: NOW)
    found = await publisher.begin(flow_of(version), Placed(order=order), **more)
    (envelope,) = line.published
    assert envelope.flow_id == found
    return envelope


# --- who begins one ---


async def test_rule_40_the_same_start_is_the_same_fact() -> None:
    first, again, other = await begun(), await begun(), await begun("o2")
    assert first == again
    assert (first.stream, first.seq, first.flow, first.flow_version) == (first.flow_id, 1, "order", 1)
    assert (first.began, first.correlation_id, first.subject) == (NOW, first.flow_id, "o1")
    assert other.flow_id != first.flow_id


async def test_rule_38_what_no_queue_has_taken_is_not_begun() -> None:
    line = Line(Published.RETURNED)
    publisher = FactPublisher(TILL, namespace="shop", transport=cast("Any", line))
    with pytest.raises(BrokerUnreachable, match="No queue took what begins the flow"):
        await publisher.begin(flow_of(), Placed(order="o1"))


async def test_rule_40_another_try_is_the_next_run_and_a_version_is_no_other_flow() -> None:
    first, second, newer = await begun(), await begun(run=2), await begun(version=2)
    assert second.flow_id != first.flow_id == newer.flow_id
    assert newer.flow_version == 2


async def test_a_correlation_goes_on_in_it() -> None:
    assert (await begun(correlation_id="saga 7")).correlation_id == "saga 7"


async def test_only_its_start_begins_it_and_only_who_may_publish_that() -> None:
    publisher = FactPublisher(TILL, namespace="shop", transport=cast("Any", Line()))
    flow = cast("Any", flow_of())
    with pytest.raises(WrongFact, match="does not begin with Closed"):
        await publisher.begin(flow, Closed(order="o1"))
    with pytest.raises(WrongFact, match="not declared to publish Packed"):
        await publisher.begin(flow, Packed(order="o1"))


@pytest.mark.parametrize(("key", "words"), [(lambda placed: placed.nothing, "failed"), (lambda placed: "", "no key")])
def test_a_key_that_cannot_be_had_is_said(key: Any, words: str) -> None:
    flow = flow_of()
    flow.key = key
    with pytest.raises(UsageError, match=words):
        flow_id("shop", flow, Placed(order="o1"))


async def test_a_handler_begins_one_once_however_often_it_is_asked() -> None:
    service = Service("desk")

    @service.handles(Begin, publishes=Placed)
    async def begin(command: Begin, db: Transaction, outbox: Outbox) -> Done:
        await outbox.publish(Placed(order=command.order))
        return Done()

    flow = flow_of()
    async with stage_for(service, kind=Participant, start=False) as stage:
        await stage.outside.declare(topology("shop", publishers=["desk"], services=["desk"], subscribers=["witness"]))
        stage.start(participant(service, stage, flow))
        for number in (1, 2):  # two sagas that ask for the same
            asked = command(Begin(order="o1"), saga=f"s{number}", to="desk", saga_version=1)
            assert await stage.outside.send([asked])
        await eventually(lambda: stage.counts.get("ok") == 2)
        await eventually(lambda: len(stage.broker.waiting("shop.facts.witness")) == 1)
        (left,) = [wire.read() for wire in stage.broker.waiting("shop.facts.witness")]
    id = flow_id("shop", flow, Placed(order="o1"))
    assert (left.flow_id, left.stream, left.seq, left.flow, left.began) == (id, id, 1, "order", NOW)
    assert left.correlation_id in ("s1", "s2")


def participant(service: Service, stage: Stage, flow: Choreography[Any]) -> Participant:
    part = FlowPart({flow.start.type_name: flow})
    database: Any = stage.database
    transport: Any = stage.transport
    return Participant(
        service, namespace="shop", transport=transport, database=database, publisher=transport, flows=part,
        clock=lambda: stage.clock[0],
    )  # fmt: skip


async def test_rule_40_a_saga_s_fact_begins_one_and_both_carry_one_correlation() -> None:
    done = asyncio.Event()

    def ask(order: Order) -> Begin:
        return Begin(order=order.order)

    def placed(order: Order) -> Placed:
        return Placed(order=order.order)

    desk, pay, orders = Service("desk"), payment(), closing()

    @desk.handles(Begin)
    async def begin(command: Begin) -> Done:
        return Done()

    witness = Service("witness")

    @witness.on(Closed)
    async def note(fact: Closed) -> None:
        done.set()

    saga = Saga("desk", start=Order, key=lambda order: order.order, steps=(Pivot(ask, to="desk"),), completed=placed)
    app = App(
        "shop", name="front", sagas=(saga,), services=(desk, pay, orders, witness),
        choreographies=(flow_of(1, pay, orders),),
    )  # fmt: skip
    async with running(app) as client:
        outcome = await client.run(saga, Order(order="o1"))
        assert outcome.status == "completed"
        async with asyncio.timeout(30):
            await done.wait()


# --- who belongs to it ---


async def test_rule_35_every_reaction_says_the_same_flow_and_its_stream_is_the_flow() -> None:
    start = await begun(correlation_id="saga 7")
    async with on_stage(payment(), flow_of()) as stage:
        await stage.outside.declare(topology("shop", publishers=["till"]))
        await stage.publish(start)
        await eventually(lambda: len(published(stage)) == 1)
        (charged,) = published(stage)
    assert (charged.flow, charged.flow_version, charged.flow_id) == ("order", 1, start.flow_id)
    assert (charged.stream, charged.seq, charged.correlation_id) == (start.flow_id, 1, "saga 7")
    assert (charged.began, charged.causation_id) == (NOW, start.id)


@pytest.mark.parametrize("more", [{"flow": "other"}, {"flow_version": 3}, {"flow": "", "flow_version": 0}])
async def test_rule_35_others_are_passed_over_and_counted(more: dict[str, Any]) -> None:
    about: dict[str, Any] = {"flow": "order", "flow_version": 1, "flow_id": "f1", "stream": "f1"}
    async with on_stage(payment(), flow_of(), flow_of(2)) as stage:
        await stage.publish(fact(Placed(order="o1"), **(about | more)))
        await eventually(lambda: stage.counts == {"of another flow": 1})
        await stage.publish(
            fact(Placed(order="o2"), 2, **about), fact(Placed(order="o3"), 3, **about | {"flow_version": 2})
        )
        await eventually(lambda: stage.counts.get("handled") == 2)
        assert await stage.effects() == {"o2": 1, "o3": 1}


async def test_what_takes_part_in_no_flow_hears_the_facts_of_all() -> None:
    witness = Service("witness")

    @witness.on(Placed)
    async def note(placed: Placed, db: Transaction) -> None:
        await effect(db, placed.order, 1)

    async with on_stage(witness, flow_of()) as stage:
        await stage.publish(fact(Placed(order="o1"), flow="order", flow_version=1, flow_id="f1"))
        await stage.publish(fact(Placed(order="o2"), 2))
        await eventually(lambda: stage.counts == {"handled": 2})


async def test_rule_39_what_is_waited_for_belongs_together_by_its_flow() -> None:
    """Two flows of one correlation."""
    about = {"flow": "order", "flow_version": 1, "correlation_id": "saga 7"}
    async with on_stage(closing(), flow_of()) as stage:
        await stage.publish(
            fact(Placed(order="o1"), 1, flow_id="f1", **about), fact(Charged(order="o2"), 2, flow_id="f2", **about)
        )
        await eventually(lambda: stage.counts == {"joined": 2})
        await stage.publish(fact(Charged(order="o1"), 3, flow_id="f1", **about))
        await eventually(lambda: stage.counts.get("handled") == 1)
        assert await stage.effects() == {"closed o1": 1}


def on_stage(service: Service, *flows: Choreography[Any]) -> Any:
    app = App("shop", services=(*flows[0].services.values(),), choreographies=flows)  # type: ignore[arg-type] # services
    return _On(service, app)


class _On:
    """A stage whose service knows its flows."""

    def __init__(self, service: Service, app: App) -> None:
        self._service, self._part = service, app.flow_part(service.name)
        self._stage = stage_for(service, kind=Subscriber, start=False)

    async def __aenter__(self) -> Stage:
        stage = await self._stage.__aenter__()
        names = [self._service.name]
        await stage.outside.declare(topology("shop", publishers=names, subscribers=["witness", *names]))
        given: Any = {"transport": stage.transport, "database": stage.database, "clock": lambda: stage.clock[0]}
        stage.start(Subscriber(self._service, namespace="shop", flows=self._part, **given))
        return stage

    async def __aexit__(self, *error: Any) -> None:
        await self._stage.__aexit__(*error)


def published(stage: Stage) -> list[Envelope]:
    found = [wire.read() for wire in stage.broker.waiting("shop.facts.witness")]
    return [one for one in found if one.source == "/shop/service/payment"]


# --- on the wire ---


def test_it_is_on_the_wire_as_the_page_says() -> None:
    one = fact(Placed(order="o1"), flow="order", flow_version=3, flow_id="f1")
    wire: Wire = encode(one)
    said = {name: value for name, value in wire.headers.items() if "_flow" in name}
    assert said == {"cloudEvents_flowname": "order", "cloudEvents_flowversion": 3, "cloudEvents_flowid": "f1"}
    assert decode(wire) == one == Envelope.loads(one.dumps())

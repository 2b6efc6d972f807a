"""Decision 110: one beginning of each flow, also where it is told again after those who took part have forgotten it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from choros import Choreography, Command, DeclarationError, Done, Fact, Outbox, Service, Transaction, UsageError
from choros.app.flow_part import FlowPart, began_at
from choros.runtime.client.beginning import first_fact
from choros.runtime.host.retention import KEEP_BEGUN, sweep
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.memory.barrier import MemoryDatabase
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from tests.runtime.participant_stage import NOW, Stage, command, effect, eventually, stage_for

DAY = 86_400.0
REMEMBERED = {"commands": 30 * DAY, "facts": 8 * DAY}


class Ordered(Fact):
    order: str
    at: datetime


class Charged(Fact):
    order: str


class Begin(Command[Done]):
    order: str


ORDERED = Ordered(order="o1", at=datetime.fromtimestamp(NOW, UTC))


def payment(name: str = "") -> Service:
    service = Service("payment")

    @service.on(Ordered, publishes=Charged, effect=name)
    async def charge(ordered: Ordered, db: Transaction) -> Charged:
        await effect(db, ordered.order, 1)
        return Charged(order=ordered.order)

    return service


def flow_of(pay: Service, **more: Any) -> Choreography[Ordered]:
    return Choreography(
        "ordering", start=Ordered, key=lambda ordered: ordered.order, good=Charged, closer="payment", services=(pay,),
        **more,
    )  # fmt: skip


def told(flow: Choreography[Ordered], at: float) -> Envelope:
    return first_fact(flow, ORDERED, namespace="shop", source="/shop/program/till", at=at)


# --- as the first fact says it ---


def test_whoever_tells_it_again_says_the_same_moment() -> None:
    flow = flow_of(payment(), began=lambda ordered: ordered.at)
    first, again = told(flow, NOW + 5), told(flow, NOW + 40 * DAY)
    assert (first.began, first.time) == (NOW, NOW + 5)
    assert (again.began, again.id) == (NOW, first.id)
    assert told(flow_of(payment()), NOW + 5).began == NOW + 5


def naive(ordered: Ordered) -> datetime:
    return ordered.at.replace(tzinfo=None)


def nowhere(ordered: Ordered) -> datetime:
    raise KeyError


@pytest.mark.parametrize(("began", "words"), [(naive, "gives no moment"), (nowhere, "failed: KeyError"), (str, "no m")])
def test_what_is_no_moment_is_said(began: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        began_at(flow_of(payment(), began=began), ORDERED, NOW)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(DeclarationError, match="began=7 is no function"):
        flow_of(payment(), began=7)


@pytest.mark.parametrize("name", ["", "charge"])
async def test_told_again_after_all_is_forgotten_it_is_parked_and_nothing_is_done_twice(name: str) -> None:
    pay = payment(name)
    flow = flow_of(pay, began=lambda ordered: ordered.at)
    async with hearing(pay, flow) as stage:
        await stage.publish(told(flow, NOW + 5))
        await eventually(lambda: stage.counts.get("handled") == 1)
        stage.clock[0] = NOW + 40 * DAY
        await sweep(stage.database, stage.clock[0], cast("Any", REMEMBERED))
        await stage.publish(told(flow, stage.clock[0]))
        await eventually(lambda: len(stage.parked("shop.facts.payment")) == 1)
        assert "may have been handled" in stage.parked("shop.facts.payment")[0]
        assert await stage.effects() == {"o1": 1}


async def test_what_it_does_by_a_name_is_known_for_longer_than_its_facts() -> None:
    pay = payment("charge")
    flow = flow_of(pay)
    async with hearing(pay, flow) as stage:
        await stage.publish(told(flow, NOW))
        await eventually(lambda: stage.counts.get("handled") == 1)
        stage.clock[0] = NOW + 10 * DAY
        await sweep(stage.database, stage.clock[0], cast("Any", REMEMBERED))
        await stage.publish(told(flow, stage.clock[0]))
        await eventually(lambda: stage.counts.get("repeated") == 1)
        assert (await stage.effects(), stage.parked("shop.facts.payment")) == ({"o1": 1}, [])


def hearing(service: Service, flow: Choreography[Ordered]) -> Any:
    return _Hearing(service, flow)


class _Hearing:
    """A stage whose service takes part in a flow."""

    def __init__(self, service: Service, flow: Choreography[Ordered]) -> None:
        self._service = service
        self._part = FlowPart({Ordered.type_name: flow}, {Ordered.type_name: frozenset({("ordering", 1)})})
        self._stage = stage_for(service, kind=Subscriber, start=False)

    async def __aenter__(self) -> Stage:
        stage = await self._stage.__aenter__()
        needed = topology("shop", publishers=["till", "payment"], subscribers=["payment"])
        await stage.outside.declare(needed)
        given: Any = {"transport": stage.transport, "database": stage.database, "clock": lambda: stage.clock[0]}
        stage.start(Subscriber(self._service, namespace="shop", flows=self._part, **given))
        return stage

    async def __aexit__(self, *error: Any) -> None:
        await self._stage.__aexit__(*error)


# --- by a service, which keeps it ---


def desk() -> Service:
    service = Service("desk")

    @service.handles(Begin, publishes=(Ordered, Charged))
    async def begin(command: Begin, db: Transaction, outbox: Outbox) -> Done:
        await outbox.publish(Ordered(order=command.order, at=datetime.fromtimestamp(NOW, UTC)))
        await outbox.publish(Charged(order=command.order))
        return Done()

    return service


@pytest.mark.parametrize(("later", "begun"), [(100 * DAY, 1), (KEEP_BEGUN + DAY, 2)])
async def test_a_service_knows_for_a_year_which_flows_it_has_begun(later: float, begun: int) -> None:
    service, database = desk(), MemoryDatabase()
    part = FlowPart({Ordered.type_name: flow_of(payment())})
    async with stage_for(service, database, kind=Participant, start=False) as stage:
        needed = topology("shop", publishers=["desk"], services=["desk"], subscribers=["witness"])
        await stage.outside.declare(needed)
        given: Any = {"transport": stage.transport, "publisher": stage.transport, "database": stage.database}
        stage.start(Participant(service, namespace="shop", flows=part, clock=lambda: stage.clock[0], **given))
        await begin_by(stage, 1)
        await eventually(lambda: len(starts(stage)) == 1)
        stage.clock[0] = NOW + later
        await sweep(database, stage.clock[0], cast("Any", REMEMBERED))
        await begin_by(stage, 2)
        await eventually(lambda: len(starts(stage)) == begun)
        assert len({one.flow_id for one in starts(stage)}) == 1


async def begin_by(stage: Stage, saga: int) -> None:
    asked = command(Begin(order="o1"), saga=f"s{saga}", to="desk", saga_version=1, not_after=None)
    assert await stage.outside.send([asked])
    await eventually(lambda: stage.counts.get("ok") == saga)


def starts(stage: Stage) -> list[Envelope]:
    found = [wire.read() for wire in stage.broker.waiting("shop.facts.witness")]
    return [one for one in found if one.type == Ordered.type_name]

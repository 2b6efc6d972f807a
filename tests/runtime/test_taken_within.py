"""A step that must be taken in time: a participant that comes too late refuses it for good, and nothing is in doubt."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from choros import Addresses, App, Command, Done, MemoryTransaction, Message, Saga, Service, Settings, Step, running
from choros.runtime.orchestrator.history import read_history
from choros.runtime.participant.participant import Participant
from choros.sources import now
from choros.store.memory.barrier import MemoryDatabase
from choros.testing import SagaTest
from choros.transport.rabbitmq import RabbitMQTransport
from choros_verify import explore
from tests.runtime.participant_stage import NOW, Charge, command, make_service, stage_for

SOON = timedelta(milliseconds=50)


class Visit(Message):
    guest: str


class Seat(Command[Done]):
    guest: str


class Dismiss(Command[Done]):
    guest: str


class Serve(Command[Done]):
    guest: str


class Clear(Command[Done]):
    guest: str


def seat(visit: Visit) -> Seat:
    return Seat(guest=visit.guest)


def dismiss(visit: Visit) -> Dismiss:
    return Dismiss(guest=visit.guest)


def serve(visit: Visit) -> Serve:
    return Serve(guest=visit.guest)


def clear(visit: Visit) -> Clear:
    return Clear(guest=visit.guest)


DINNER_STEPS = (
    Step(seat, to="hall", compensation=dismiss),
    Step(serve, to="kitchen", compensation=clear, taken_within=SOON),
)
DINNER = Saga("dinner", start=Visit, key=lambda visit: visit.guest, steps=DINNER_STEPS)


def test_what_nobody_has_taken_is_undone_by_nobody() -> None:
    test = SagaTest(DINNER)
    test.start(Visit(guest="Ada"))
    test.advance(timedelta(seconds=7))
    test.expect_command(Seat).reply()
    served = test.expect_command(Serve)
    assert served.not_after == 7.05
    served.refuse("expired")
    test.expect_compensation(Dismiss).reply()
    test.expect_nothing()
    assert test.status == "compensated"


async def test_the_own_clock_decides_within_what_is_said_of_the_clocks() -> None:
    async with stage_for(make_service(), clock_skew=2) as stage:
        stage.clock[0] = NOW + 102
        (taken,) = await stage.ask(command(Charge(order="o1")))
        stage.clock[0] = NOW + 102.5
        (late,) = await stage.ask(command(Charge(order="o2"), saga="s2"))
        assert (taken.outcome, late.outcome, await stage.effects()) == ("ok", "refused", {"o1": 1})


def hall() -> Service:
    service = Service("hall")

    @service.handles(Seat)
    async def seats(command: Seat) -> Done:
        return Done()

    @service.handles(Dismiss)
    async def dismisses(command: Dismiss) -> Done:
        return Done()

    return service


def kitchen(served: list[str]) -> Service:
    service = Service("kitchen")

    @service.handles(Serve)
    async def serves(command: Serve, db: MemoryTransaction) -> Done:
        served.append(command.guest)
        return Done()

    @service.handles(Clear)
    async def clears(command: Clear, db: MemoryTransaction) -> Done:
        raise NotImplementedError

    return service


async def late(service: Service, transport: RabbitMQTransport, namespace: str) -> None:
    database = MemoryDatabase()
    await database.open()
    settings = Settings(clock_skew=timedelta(0), drain=timedelta(0))
    await Participant(service, namespace=namespace, transport=transport, database=database, settings=settings).run()


@pytest.mark.servers
async def test_a_service_that_starts_too_late_does_not_begin(amqp_url: str, namespace: str) -> None:
    away = Service("kitchen", commands=[Serve, Clear])
    app = App(namespace, sagas=[DINNER], services=[hall(), away])
    served, begun, transport = list[str](), now(), RabbitMQTransport(amqp_url, namespace, "kitchen")
    async with running(app, Addresses(broker=amqp_url, store="memory://", database="memory://")) as client:
        saga_id = await client.start(DINNER, Visit(guest="Ada"))
        while "serve" not in (instance := (await client.show(saga_id)).instance).nodes:
            await asyncio.sleep(0.01)
        until = instance.nodes["serve"].not_after
        assert until is not None
        assert until - begun < 60  # and not the 15 minutes of its retries
        while now() <= until:
            await asyncio.sleep(0.01)
        await transport.connect()
        comes = asyncio.create_task(late(kitchen(served), transport, namespace))
        outcome = await client.wait(saga_id)
        account = await client.show(saga_id)
        comes.cancel()
        await asyncio.wait({comes})
        await transport.close()
    told = [one for row in account.history for one in read_history(row.events)]
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.code, outcome.failure.kind) == ("compensated", "expired", "refused")
    assert (served, {one.step for one in told if one.operation == "undo"}) == ([], {"seat"})


@pytest.mark.slow
def test_every_interleaving_of_it_keeps_the_promises() -> None:
    found = explore(Saga("meal", start=Visit, key=lambda visit: visit.guest, steps=DINNER_STEPS[1:]))
    assert found.complete, "\n".join(found.story)
    assert {"completed", "compensated"} <= set(found.ends)

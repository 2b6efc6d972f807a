"""Who shares a broker and a namespace: other stores, other releases of a service, and its namesakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from choros.app.service import Service
from choros.runtime.client.client import Client
from choros.runtime.host.vitals import Vitals
from choros.runtime.participant.participant import Participant
from choros.runtime.participant.passing_on import RETURN_AFTER
from choros.sources import fresh_id
from choros.store.barrier import Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.transport.memory import MemoryTransport
from choros.transport.port import NotDeclared
from choros.transport.topology import Topology, topology
from choros.wire.envelope import decode
from tests.captured import capture_logs
from tests.patience import PATIENCE
from tests.runtime.participant_stage import (
    Charge,
    Charged,
    Refund,
    Refunded,
    close,
    command,
    make_service,
    stage_for,
)
from tests.runtime.participant_stage import Stage as ServiceStage
from tests.runtime.stage import NAMES, Stage, reply_to, staged

from ..saga import shop

SERVICES = ("payment", "inventory", "shipping")
SHARED = NAMES.reply_queue("shop")

# --- two stores -------------------------------------------------------------------------------------------------------


async def answer_everything(stage: Stage, service: str) -> None:
    consumer = await stage.consumer(NAMES.service_queue(service))
    while deliveries := await consumer.receive(100):
        for delivery in deliveries:
            await delivery.ack()
            await stage.answer(reply_to(decode(delivery.wire)))


@asynccontextmanager
async def answering(stage: Stage) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(answer_everything(stage, service)) for service in SERVICES]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def ends(client: Client, *numbers: int) -> set[str]:
    orders = [shop.ORDER.model_copy(update={"order_id": f"order-{number}"}) for number in numbers]
    async with asyncio.timeout(PATIENCE):
        return {(await one).status for one in [client.run(shop.order_saga, order) for order in orders]}


async def test_two_stores_on_one_broker_and_namespace_take_each_its_own_replies() -> None:
    async with staged() as stage, answering(stage):
        other = MemoryStore()
        await other.open()
        await stage.orchestrator()
        await stage.orchestrator(store=other)
        mine, theirs = await stage.client(), await stage.client(store=other)
        ended = await asyncio.gather(ends(mine, *range(20)), ends(theirs, *range(20, 40)))
        assert list(ended) == [{"completed"}, {"completed"}]
        assert not stage.broker.waiting(NAMES.dead_queue(SHARED))
        records = [*stage.store._rows.records.values(), *other._rows.records.values()]
        assert {record.version for record in records} == {4}  # no command was sent twice
        assert not {*stage.store._rows.records}.intersection(other._rows.records)


async def test_two_orchestrators_on_one_store_are_one() -> None:
    async with staged() as stage, answering(stage):
        same = MemoryStore(stage.store)
        await same.open()
        await stage.orchestrator()
        await stage.orchestrator(store=same)
        assert stage.store.identity == same.identity
        assert await ends(await stage.client(), *range(20)) == {"completed"}
        own = f"{SHARED}.{same.identity}"
        assert len(stage.broker._queues[own].lines) == 2


async def test_what_was_sent_by_an_older_version_is_answered_where_it_asked_to() -> None:
    async with staged() as stage:
        await stage.orchestrator()
        client = await stage.client()
        saga_id = await client.start(shop.order_saga, shop.ORDER)
        charge = await stage.command("payment")
        await stage.answer(replace(reply_to(charge), to=SHARED))
        reserve = await stage.command("inventory")
        assert reserve.correlation_id == saga_id
        assert reserve.reply_to == f"{SHARED}.{stage.store.identity}"


async def test_what_nobody_asked_for_is_parked_in_the_place_of_the_application() -> None:
    async with staged() as stage:
        await stage.orchestrator()
        client = await stage.client()
        await client.start(shop.order_saga, shop.ORDER)
        answered = reply_to(await stage.command("payment"))
        await stage.answer(replace(answered, correlation_id="nobody", key="nobody:charge_payment:1:do"))
        assert await stage.dead(SHARED) == "No saga of this id is known here."
        await stage.answer(replace(answered, id=fresh_id(), saga="another"))
        assert "names another saga" in await stage.dead(SHARED)


async def test_who_may_make_no_queue_is_answered_at_that_of_the_application() -> None:
    async with staged() as stage:
        declare = stage.transport.declare

        async def refusing(wanted: Topology) -> None:
            if any(stage.store.identity in queue.name for queue in wanted.queues):
                raise NotDeclared("It does not exist, and this user may not create it.")
            await declare(wanted)

        stage.transport.declare = refusing  # type: ignore[method-assign,assignment]
        await stage.orchestrator(transport=stage.transport)
        client = await stage.client()
        await client.start(shop.order_saga, shop.ORDER)
        assert (await stage.carry_out("payment")).reply_to == SHARED
        assert (await stage.carry_out("inventory")).reply_to == SHARED


async def test_the_queue_of_a_store_in_memory_goes_soon_after_its_process() -> None:
    """Each start has a new one: a month of them would lie on the broker."""
    async with staged() as stage:
        client = await stage.client()  # it declares the queue before it is there
        await client.start(shop.order_saga, shop.ORDER)
        own = f"{SHARED}.{stage.store.identity}"
        assert stage.broker._queues[own].arguments["x-expires"] == 3_600_000


async def test_a_client_that_comes_before_any_orchestrator_makes_the_queue() -> None:
    """Else the participant could not get rid of its answer."""
    async with staged() as stage:
        client = await stage.client()
        await client.start(shop.order_saga, shop.ORDER)
        await stage.carry_out("payment")
        await stage.orchestrator()
        await stage.carry_out("inventory")


# --- two releases of a service, and two services of one name ----------------------------------------------------------


def old_service() -> Service:
    """It knows nothing of refunds yet."""
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Charged:
        return Charged(payment="p")

    return service


@asynccontextmanager
async def beside(stage: ServiceStage, service: Service) -> AsyncIterator[Participant]:
    """Another replica, on a connection of its own and the same database."""
    transport = MemoryTransport(stage.broker, "shop")
    await transport.connect()
    await transport.declare(topology("shop", services=[service.name]))
    database = stage.database.inner
    assert isinstance(database, MemoryDatabase)
    clock = stage.clock
    other = Participant(service, namespace="shop", transport=transport, database=database, clock=lambda: clock[0])
    running = asyncio.create_task(other.run())
    yield other
    await other.stop()
    await running
    await transport.close()


async def test_a_command_that_only_the_new_replica_knows_comes_to_it() -> None:
    async with stage_for(old_service()) as stage, beside(stage, make_service()) as new:
        for number in range(50):
            order, saga = f"o{number}", f"s{number}"
            new_kind = command(Refund(order=order), saga=saga, key=f"{saga}:give_back:1:do", step="give_back")
            await stage.send(command(Charge(order=order), saga=saga), new_kind)
        answers = await stage.replies(100)
        assert {one.outcome for one in answers} == {"ok"}
        assert not stage.parked()
        assert stage.counts["passed on"] > 0
        assert not new.counts["passed on"]


async def test_of_a_burst_that_only_a_busy_new_replica_knows_hardly_any_is_parked() -> None:
    new_service, number = Service("payment"), count()

    @new_service.handles(Refund)
    async def refund(command: Refund) -> Refunded:
        await asyncio.sleep(0.05 + next(number) % 7 / 100)
        return Refunded(payment="p")

    async with stage_for(old_service()) as stage, beside(stage, new_service):
        for saga in (f"s{n}" for n in range(200)):
            await stage.send(command(Refund(order="o"), saga=saga, key=f"{saga}:give_back:1:do", step="give_back"))
        assert {one.outcome for one in await stage.replies(180)} == {"ok"}
        assert len(stage.parked()) <= 20  # without a pause it is most of them


async def test_what_no_replica_knows_is_parked_after_a_while_and_named_once(tmp_path: Path) -> None:
    async with stage_for(old_service()) as stage:
        with capture_logs() as logs:
            await stage.send(*(command(Refund(order="o"), saga=f"s{n}") for n in range(30)))
            (ok,) = await stage.ask(command(Charge(order="o1")))  # what is its own does not wait for that
            assert ok.outcome == "ok"
            await asyncio.sleep(sum(RETURN_AFTER) + 1)
        assert stage.parked() == ["The service payment has no handler for this type of command."] * 30
        (named,) = [entry for entry in logs if entry["event"] == "choros.command.for_another"]
        assert named["type"] == "refund.v1"
        assert isinstance(stage.runner, Participant)
        vitals = Vitals("service:payment", path=tmp_path / "health")
        vitals.noticing.append(lambda: stage.runner.passing_on.noticed)  # type: ignore[union-attr]
        (remark,) = vitals.report().remarks
        assert remark == (
            "Service 'payment' is sent refund.v1, which this replica does not handle: another release of it runs beside"
            " this one, or two services have this name."
        )
        stage.clock[0] += 601
        assert not vitals.report().remarks


async def test_a_type_that_anybody_made_up_fills_neither_log_nor_report() -> None:
    async with stage_for(old_service()) as stage:
        made_up = [command(Refund(order="o"), saga=f"s{n}", type=f"made-up-{n}{'x' * 300}.v1") for n in range(50)]
        with capture_logs() as logs:
            await stage.send(*made_up)
            await asyncio.sleep(sum(RETURN_AFTER) + 1)
        assert isinstance(stage.runner, Participant)
        assert len(stage.parked()) == 50
        assert len([entry for entry in logs if entry["event"] == "choros.command.for_another"]) == 20
        assert len(stage.runner.passing_on.noticed[0]) < 3000


# --- who asks, gets the answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ok", "declined"])
async def test_a_stored_answer_goes_to_whoever_asks_for_it_now(how: str) -> None:
    async with stage_for(make_service()) as stage:
        charge = command(Charge(order="o1", how=how), reply_to="shop.replies.gone")
        await stage.transport.declare(topology("shop", applications=["gone"]))
        await stage.send(charge)
        await stage.idle()
        assert len(stage.broker.waiting("shop.replies.gone")) == 1
        again, closed = await stage.ask(
            replace(charge, id=fresh_id(), reply_to=NAMES.reply_queue("order")), close("do")
        )
        (first,) = [decode(wire) for wire in stage.broker.waiting("shop.replies.gone")]
        assert (again.id, again.data, again.outcome) == (first.id, first.data, first.outcome)
        assert closed.id == first.id


async def test_an_answer_whose_queue_is_gone_reaches_the_queue_that_asks_again() -> None:
    async with stage_for(make_service()) as stage:
        charge = command(Charge(order="o1"), reply_to="shop.replies.gone")
        await stage.send(charge)
        await asyncio.sleep(1)
        (answer,) = await stage.ask(replace(charge, id=fresh_id(), reply_to=NAMES.reply_queue("order")))
        assert answer.outcome == "ok"
        await asyncio.sleep(1)
        assert await stage.database.unsent(10) == []

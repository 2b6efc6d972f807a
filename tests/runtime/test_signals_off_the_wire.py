"""Signals that services send over the broker: taken once, from who was given them; the others are parked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from choros import App, Client, Pivot, Saga, Service, Signal, Wait
from choros.desk.dead_letters import StaysParked, dead_letter, way_back
from choros.runtime.orchestrator.history import MOST_LATE
from choros.saga.machine.signals import MOST_EARLY
from choros.sources import fresh_id, now
from choros.store.memory.sagas import MemoryStore
from choros.transport.copies import redriven_copy
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.permissions import orchestrator, signaller
from choros.transport.port import Published
from choros.transport.sending import Post
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.stage import Stage, kinds
from tests.saga.loan import Archive, AskForLoan, Countersigned, Decided, GiveBack, PayOut, SetAside, make_loan, ship

DAY = timedelta(days=1)
NAMES = Names("loans")
QUEUE = NAMES.signal_queue("loans")
LOAN = AskForLoan()


class Undeclared(Signal):
    word: str = ""


def number(loan: AskForLoan) -> str:
    return loan.loan


def one_of_two(loan: AskForLoan, first: Decided) -> Archive:
    return Archive(loan=first.by)


LOANS: Saga[Any] = make_loan(key=number)
TWICE: Saga[Any] = Saga(
    "twice", start=AskForLoan, key=number,
    steps=(Wait(Decided, within=DAY, name="first"), Wait(Decided, within=DAY, name="second"), Pivot(ship, to="bank")),
)  # fmt: skip


def loans(*given: type[Signal], sagas: tuple[Saga[Any], ...] = (LOANS, TWICE)) -> App:
    bank = Service("bank", commands=(SetAside, GiveBack, PayOut, Archive))
    branch = Service("branch", signals=given or (Decided, Countersigned))
    return App("loans", sagas=sagas, services=(bank, Service("archive", commands=(Archive,)), branch))


def signal(told: Signal | None = None, **more: Any) -> Envelope:
    """What a branch sends."""
    said = told or Decided()
    fields: dict[str, Any] = {
        "id": fresh_id(), "kind": "signal", "type": said.type_name, "source": "/loans/branch", "time": now(),
        "data": said.to_json(), "to": QUEUE, "saga": "loan", "subject": "l1",
    }  # fmt: skip
    return Envelope(**fields | more)


@dataclass
class Branch:
    """A stage of the loans, at which a branch may speak."""

    stage: Stage
    client: Client

    async def send(self, *signals: Envelope) -> None:
        assert [*await self.stage.transport.send(signals)] == [Published.CONFIRMED] * len(signals)

    async def until(self, saga_id: str, kind: str, count: int = 1) -> list[str]:
        async with asyncio.timeout(PATIENCE):
            while (said := await self.said(saga_id)).count(kind) < count:
                await asyncio.sleep(0.01)
        return said

    async def said(self, saga_id: str) -> list[str]:
        return [kind for row in await self.stage.store.history(saga_id) for kind in kinds(row)]

    async def dead(self) -> str:
        async with asyncio.timeout(PATIENCE):
            (delivery,) = await (await self.stage.consumer(NAMES.dead_queue(QUEUE))).receive(1)
        await delivery.ack()
        return str(delivery.wire.headers["x-choros-reason"])

    async def taken(self) -> None:
        """Until all that was sent is settled."""
        queue = self.stage.broker.queue(QUEUE)
        assert queue is not None
        async with asyncio.timeout(PATIENCE):
            while queue.ready or any(line.unsettled() for line in queue.lines):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def branched(app: App | None = None) -> AsyncIterator[Branch]:
    app = app or loans()
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    await store.open()
    await transport.connect()
    stage = Stage(transport._broker, store, transport, app)
    await transport.declare(app.topology + topology("loans", signalling=["rogue"]))
    async with stage.stack:
        for _ in range(2):
            own = MemoryTransport(stage.broker, "loans")
            await own.connect()
            stage.stack.push_async_callback(own.close)
            await stage.orchestrator(transport=own)
        yield Branch(stage, await stage.client())
    await transport.close()


async def test_a_signal_is_taken_once_by_two_orchestrators_however_often_it_comes() -> None:
    async with branched() as branch:
        saga_id = await branch.client.start(LOANS, LOAN)
        told = signal()
        branch.stage.broker.duplicate(QUEUE)
        await branch.send(told, told)
        await branch.until(saga_id, "kept")
        await branch.taken()
        assert (await branch.said(saga_id)).count("kept") == 1
        assert (await branch.client.show(saga_id)).instance.early == (("decided", Decided().to_json()),)


async def test_it_may_name_the_instance_by_its_id_and_the_wait() -> None:
    async with branched() as branch:
        saga_id = await branch.client.start(TWICE, LOAN)
        named: dict[str, Any] = {"saga": "twice", "subject": "", "correlation_id": saga_id}
        await branch.send(signal(step="second", **named), signal(Decided(by="Eve"), step="first", **named))
        said = await branch.until(saga_id, "signalled", 2)
        assert said.count("too_late") == 0


async def test_the_history_says_who_spoke() -> None:
    async with branched() as branch:
        saga_id = await branch.client.start(LOANS, LOAN)
        await branch.send(signal())
        await branch.until(saga_id, "kept")
        rows = await branch.stage.store.history(saga_id)
        assert any('"act":"signal","by":"/loans/branch"' in row.events for row in rows)


async def test_what_comes_too_late_is_told_so_often_and_no_more() -> None:
    async with branched() as branch:
        saga_id = await branch.client.start(LOANS, LOAN)
        await branch.send(*(signal(Decided(by=str(number))) for number in range(MOST_LATE + 20)))
        await branch.taken()
        said = await branch.said(saga_id)
        assert (said.count("kept"), said.count("too_late")) == (1, MOST_LATE)
        record = (await branch.stage.store.load([saga_id]))[saga_id].record
        assert len(record.received) <= MOST_LATE + 3


# --- what is parked ---------------------------------------------------------------------------------------------------

UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"subject": "l9"}, "No saga of this id is known here."),
    ({"saga": "mortgage"}, "No saga of this id is known here."),
    ({"subject": ""}, "The signal names no instance: it has neither correlationid nor subject."),
    ({"step": "set_aside"}, "The signal names no wait of this saga."),
    ({"step": "countersigned"}, "The wait that it names is for another signal."),
    ({"data": '{"yes": 3.5}'}, "The body is no decided.v1: yes: bool_type."),
    ({"saga": "twice"}, "The saga waits for that at several places, and the signal names none."),
    ({"told": Undeclared()}, "The service that it names was not given signals of this type."),
]


@pytest.mark.parametrize(("given", "sentence"), UNFIT)
async def test_what_no_saga_waits_for_is_parked_with_a_sentence(given: dict[str, Any], sentence: str) -> None:
    async with branched() as branch:
        await branch.client.start(LOANS, LOAN)
        await branch.client.start(TWICE, LOAN)
        await branch.send(signal(**given))
        assert await branch.dead() == sentence


async def test_who_was_not_given_it_is_parked_and_who_takes_anothers_name_too() -> None:
    async with branched(loans(Countersigned)) as branch:
        saga_id = await branch.client.start(LOANS, LOAN)
        await branch.send(signal())
        assert await branch.dead() == "The service that it names was not given signals of this type."
        await branch.send(signal(Countersigned(), source="/loans/rogue"))
        assert await branch.dead() == "The service that it names was not given signals of this type."
        forged = Post(NAMES.signals_of("rogue"), QUEUE, signal(Countersigned()))
        await branch.stage.transport._put([forged])
        assert "is not the way of the service that it names" in await branch.dead()
        fact = signal(kind="fact", stream="s", seq=1)
        await branch.stage.transport._put([Post(NAMES.signals_of("branch"), QUEUE, fact)])
        assert await branch.dead() == "A fact came to a signal queue."
        assert await branch.said(saga_id) == ["started", "sent"]


async def test_more_than_are_kept_are_parked_and_may_come_back() -> None:
    rounds = make_loan(key=number)
    async with branched(loans(sagas=(rounds,))) as branch:
        saga_id = await branch.client.start(rounds, LOAN)
        big = Decided(by="x" * 70_000)
        told = signal(big)
        await branch.send(told)
        assert await branch.dead() == "The saga keeps no more signals that come before it waits for them."
        await branch.send(told)  # put back, it is not taken for one that the saga has had
        assert await branch.dead() == "The saga keeps no more signals that come before it waits for them."
        assert (await branch.said(saga_id)).count("not_kept") == 2
        assert MOST_EARLY


async def test_a_dead_letter_goes_back_by_the_way_it_came_and_a_forged_one_stays() -> None:
    async with branched() as branch:
        await branch.send(signal())  # no such saga yet
        queue = await branch.stage.consumer(NAMES.dead_queue(QUEUE))
        (delivery,) = await queue.receive(1)
        letter = dead_letter(delivery.wire, NAMES.dead_queue(QUEUE), NAMES)
        exchange, key = way_back(letter, NAMES)
        assert (letter.kind, exchange, key) == ("signal", "loans.branch.signals", QUEUE)
        saga_id = await branch.client.start(LOANS, LOAN)
        await branch.stage.transport.post(exchange, key, redriven_copy(delivery.wire))
        await branch.until(saga_id, "kept")
        with pytest.raises(StaysParked):
            way_back(replace(letter, exchange="loans.rogue.signals"), NAMES)


# --- who needs what ---------------------------------------------------------------------------------------------------


def test_only_who_was_given_a_signal_has_a_way_for_it() -> None:
    app = loans()
    exchanges = {one.name: one.kind for one in app.topology.exchanges}
    assert (exchanges["loans.signals"], exchanges["loans.branch.signals"]) == ("direct", "fanout")
    assert "loans.bank.signals" not in exchanges
    assert {queue.name for queue in app.topology.queues} >= {QUEUE, f"{QUEUE}.dead"}
    without, given = orchestrator(NAMES, "loans"), orchestrator(NAMES, "loans", signalled=True)
    assert set(given.reads) - set(without.reads) == {QUEUE}
    assert set(given.writes) - set(without.writes) == {f"{QUEUE}.dead"}
    assert signaller(NAMES, "branch").writes == ("loans.branch.signals", NAMES.probe)
    assert signaller(NAMES, "branch").reads == ()

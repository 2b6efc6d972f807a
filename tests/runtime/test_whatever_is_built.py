"""Whatever a declaration's functions and the models of replies raise: that saga parks, the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import field_validator, model_serializer

from choros.app.app import App
from choros.app.service import Service
from choros.errors import Refused, UsageError
from choros.messages import Command, Done, Fact, Message, Reply
from choros.roles.addresses import Addresses, _memory_brokers
from choros.roles.roles import running
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.nodes import Pivot, Publish, Retriable, Step
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.topology import Names
from tests.patience import PATIENCE
from tests.runtime.participant_stage import eventually
from tests.runtime.whatever import EVERYTHING, bang

MEMORY = Addresses("memory://", "memory://", "memory://")
ALL = range(len(EVERYTHING))


class Go(Message):
    """`where` says which function raises, `how` what."""

    id: str
    where: str = ""
    how: str = ""


def at(go: Go, where: str) -> None:
    if go.where == where:
        if go.how == "exit":
            raise SystemExit(3)
        bang(go.how)


class Work(Command[Done], refusals=("no",)):
    refuse: bool = False


class Undo(Command[Done]):
    pass


class Last(Command[Done], refusals=("no",)):
    refuse: bool = False


class Odd(Command[Done]):
    how: str = ""

    @model_serializer
    def write(self) -> dict[str, Any]:
        bang(self.how)
        return {"how": ""}


class Noted(Fact):
    pass


class Over(Fact):
    pass


class Off(Fact):
    pass


def work(go: Go) -> Work:
    at(go, "work")
    return Work()


def undo(go: Go) -> Undo:
    at(go, "undo")
    return Undo()


def note(go: Go) -> Noted:
    at(go, "note")
    return Noted()


def odd(go: Go) -> Odd:
    return Odd(how=go.how if go.where == "odd" else "")


def last(go: Go) -> Last:
    return Last(refuse=go.where in ("undo", "off"))


def over(go: Go) -> Over:
    at(go, "over")
    return Over()


def off(go: Go) -> Off:
    at(go, "off")
    return Off()


service = Service("svc")


@service.handles(Work)
@service.handles(Undo)
@service.handles(Odd)
async def done(command: Message) -> Done:
    return Done()


@service.handles(Last)
async def ended(command: Last) -> Done:
    if command.refuse:
        raise Refused("no")
    return Done()


saga = Saga(
    "built",
    start=Go,
    key=lambda go: go.id,
    steps=(Step(work, to="svc", compensation=undo), Publish(note), Pivot(last, to="svc"), Retriable(odd, to="svc")),
    completed=over,
    compensated=off,
)
app = App("built", sagas=[saga], services=[service])
PLACES = {
    "work": "completed",
    "undo": "compensated",
    "note": "completed",
    "odd": "completed",
    "over": "completed",
    "off": "compensated",
}
"""Where something is built, and how a saga ends that gets there and meets nothing."""


@pytest.mark.parametrize("where", PLACES)
async def test_a_function_of_the_declaration(where: str) -> None:
    async with running(app, MEMORY) as client:
        bad = [await client.start(saga, Go(id=f"bad{n}", where=where, how=str(n))) for n in ALL]
        good = [await client.start(saga, Go(id=f"good{n}", where=where)) for n in ALL[::8]]
        for saga_id in bad:
            outcome = await client.wait(saga_id, timeout=timedelta(seconds=PATIENCE))
            assert outcome.status == "parked"
            assert f"{where} " in outcome.parked
        for saga_id in good:
            assert (await client.wait(saga_id)).status == PLACES[where]


class Answer(Reply):
    how: str = ""

    @field_validator("how")
    @classmethod
    def known(cls, how: str) -> str:
        bang(how)
        return how

    def to_json(self) -> str:
        """As another version of this class would, which sees nothing wrong in it."""
        return self.model_dump_json()


class Asked(Command[Answer]):
    how: str


def ask(go: Go) -> Asked:
    return Asked(how=go.how)


async def test_a_model_that_reads_a_reply() -> None:
    """It is parked, and asked for again."""
    helper = Service("svc")

    @helper.handles(Asked)
    async def answered(command: Asked) -> Answer:
        return Answer.model_construct(how=command.how)

    step = Pivot(ask, to="svc", timeout=timedelta(hours=1))
    asking = Saga("asking", start=Go, key=lambda go: go.id, steps=(step,))
    addresses, names = Addresses("memory://asked", "memory://", "memory://"), Names("asked")
    async with running(App("asked", sagas=[asking], services=[helper]), addresses) as client:
        for number in ALL:
            await client.start(asking, Go(id=f"bad{number}", how=str(number)))
            good = await client.start(asking, Go(id=f"good{number}"))
            assert (await client.wait(good)).status == "completed"
        dead = names.dead_queue(names.reply_queue("asked"))
        await eventually(lambda: len(_memory_brokers["asked"].waiting(dead)) == len(EVERYTHING))


@asynccontextmanager
async def orchestrated(store: MemoryStore) -> AsyncIterator[tuple[Orchestrator, Client]]:
    transport = MemoryTransport(MemoryBroker(), "built")
    await transport.connect()
    await store.open()
    orchestrator = Orchestrator(app, transport=transport, store=store)
    await orchestrator.declare()
    yield orchestrator, Client(app, store=store, transport=transport, decider=orchestrator.decider)
    await transport.close()


async def test_an_exit_stops_the_orchestrator_in_order() -> None:
    async with orchestrated(MemoryStore()) as (orchestrator, client):
        run = asyncio.create_task(exit_of(orchestrator))
        starting = asyncio.create_task(client.start(saga, Go(id="1", where="work", how="exit")))
        assert await asyncio.wait_for(run, PATIENCE) == 3
        with pytest.raises(Exception, match="stopped"):
            await starting


async def exit_of(orchestrator: Orchestrator) -> int:
    try:
        await orchestrator.run()
    except SystemExit as wanted:
        return int(str(wanted.code))
    return 0


async def test_an_exit_of_a_handler_stops_the_whole_application_in_order() -> None:
    helper = Service("svc")

    @helper.handles(Work)
    @helper.handles(Undo)
    @helper.handles(Odd)
    @helper.handles(Last)
    async def leave(command: Message) -> Done:
        raise SystemExit(4)

    leaving = App("leaving", sagas=[saga], services=[helper])

    async def use() -> None:
        async with running(leaving, MEMORY) as client:
            await client.start(saga, Go(id="1"))
            await eventually(lambda: _over(client))

    with pytest.raises(SystemExit) as left:
        await use()
    assert left.value.code == 4


def _over(client: Client) -> bool:
    """Whether the orchestrator has been told to stop."""
    return client._decider._over is not None


def failing(message: object) -> str:
    raise KeyError


async def test_a_key_that_fails_is_the_declarations_mistake() -> None:
    keyed = Saga("keyed", start=Go, key=failing, steps=(Pivot(last, to="svc"),))
    async with running(App("keyed", sagas=[keyed], services=[service]), MEMORY) as client:
        with pytest.raises(UsageError, match="The key of saga 'keyed' failed: KeyError"):
            await client.start(keyed, Go(id="1"))


@pytest.mark.parametrize("key", [None, 4.5, True, b"x", (4,), "", "a\nb", "x" * 201])
async def test_a_start_key_that_is_none(key: Any) -> None:
    keyed = Saga("keyed", start=Go, key=lambda _: key, steps=(Pivot(last, to="svc"),))
    async with running(App("keyed", sagas=[keyed], services=[service]), MEMORY) as client:
        with pytest.raises(UsageError, match="needs a start key of 1 to 200 printable characters"):
            await client.start(keyed, Go(id="1"))

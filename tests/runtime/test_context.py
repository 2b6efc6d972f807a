"""What one call leaves in its context, no other call meets: handlers, reactions, models, builders, preparations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import field_validator, model_serializer

from choros.app.app import App
from choros.app.service import Service
from choros.messages import Command, Fact, Message, Reply
from choros.roles.addresses import Addresses, opened_database
from choros.roles.roles import running
from choros.runtime.subscriber.subscriber import Subscriber
from choros.saga.nodes import Pivot
from choros.saga.saga import Saga
from choros.store.barrier import Database, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from tests.runtime.participant_stage import command, fact, stage_for

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
MANY = 20


def mark(seen: list[Any]) -> None:
    """Note what is found of others, and leave traces."""
    task = asyncio.current_task()
    named = task.get_name() if task else ""
    seen.append((tenant.get(), structlog.contextvars.get_contextvars().get("tenant"), named == "mine"))
    tenant.set("somebody")
    structlog.contextvars.bind_contextvars(tenant="somebody")


def mark_task(seen: list[Any]) -> None:
    mark(seen)
    task = asyncio.current_task()
    assert task is not None
    task.set_name("mine")


UNTOUCHED = ("nobody", None, False)
seen_by_models: list[Any] = []
seen_by_builders: list[Any] = []


class Told(Reply):
    text: str = ""

    @model_serializer
    def write(self) -> dict[str, Any]:
        mark(seen_by_models)
        return {"text": self.text}


class Do(Command[Told]):
    text: str = ""

    @field_validator("text")
    @classmethod
    def known(cls, text: str) -> str:
        mark(seen_by_models)
        return text


class Undo(Command[Told]):
    pass


class Go(Message):
    id: str


def build(go: Go) -> Do:
    mark(seen_by_builders)
    return Do.model_construct(text=go.id)


class Said(Fact):
    pass


class Unsaid(Fact):
    pass


Seen = list[Any]


def handling(seen: Seen) -> Service:
    service = Service("payment")

    @service.handles(Do)
    async def do(command: Do, db: Transaction) -> Told:
        mark_task(seen)
        return Told()

    @service.handles(Undo)
    async def undo(command: Undo, db: Transaction) -> Told:
        mark_task(seen)
        return Told()

    return service


def providing(seen: Seen) -> Service:
    service, failed = Service("payment"), set[str]()

    async def ask(command: Do) -> None:
        mark_task(seen)

    @service.provider(Do, ask=ask)
    async def do(command: Do) -> Told:
        mark_task(seen)
        return Told()

    @service.provider(Undo)
    async def undo(command: Undo) -> Told:
        mark_task(seen)
        if not failed:
            failed.add("once")
            raise ConnectionError
        return Told()

    return service


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "redis":
        return RedisDatabase(request.getfixturevalue("redis_url"), request.getfixturevalue("namespace"))
    return MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "p.db")


@pytest.mark.parametrize("declared", [handling, providing])
async def test_commands(database: Database, declared: Callable[[Seen], Service]) -> None:
    """All in one batch, dos and their undos."""
    seen: Seen = []
    async with stage_for(declared(seen), database) as stage:
        await stage.send(*(command(Do(), saga=f"s{n}") for n in range(MANY)))
        await stage.replies(MANY)
        await stage.send(*(command(Undo(), "undo", saga=f"s{n}") for n in range(MANY)))
        await stage.replies(MANY)
    assert set(seen) == {UNTOUCHED}
    assert len(seen) >= 2 * MANY  # on Redis a call may run again after a conflict


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("transactional", [False, True])
async def test_facts(database: Database, transactional: bool, ordered: bool) -> None:
    seen: Seen = []
    service = Service("payment", ordered=ordered)

    async def outside(said: Said | Unsaid) -> None:
        mark_task(seen)

    async def within(said: Said | Unsaid, db: Transaction) -> None:
        mark_task(seen)

    if transactional:
        service.on(Said)(within)
        service.on(Unsaid, undoes=Said)(within)
    else:
        service.on(Said, Unsaid)(outside)
    async with stage_for(service, database, kind=Subscriber) as stage:
        for seq, kind in ((1, Said), (2, Unsaid)):
            for number in range(MANY):
                await stage.publish(fact(kind(), seq, stream=f"s{number}", correlation_id=f"s{number}", saga="s"))
            await stage.idle("shop.facts.payment")
    assert set(seen) == {UNTOUCHED}
    assert len(seen) >= 2 * MANY  # on Redis a call may run again after a conflict


async def test_models_builders_and_keys() -> None:
    """At the orchestrator, the client and the participant: nothing reaches who calls them, or one another."""
    seen_by_models.clear()
    saga = Saga("s", start=Go, key=lambda go: go.id, steps=(Pivot(build, to="payment"),))
    app = App("shop", sagas=[saga], services=[handling([])])
    async with running(app, Addresses("memory://", "memory://", "memory://")) as client:
        for number in range(MANY):
            assert (await client.run(saga, Go(id=str(number)))).status == "completed"
    assert (len(seen_by_builders), set(seen_by_builders)) == (MANY, {UNTOUCHED})
    assert set(seen_by_models) == {UNTOUCHED}
    assert tenant.get() == "nobody"


async def test_preparations(tmp_path: Path) -> None:
    seen: Seen = []
    service = handling(seen)
    for _ in range(3):

        @service.prepares
        async def prepare(db: Transaction) -> None:
            mark_task(seen)

    addresses = Addresses("memory://", "memory://", f"sqlite:///{tmp_path}/p.db")
    async with opened_database(addresses, App("shop", services=[service]), service):
        assert seen == [UNTOUCHED] * 3
        assert tenant.get() == "nobody"

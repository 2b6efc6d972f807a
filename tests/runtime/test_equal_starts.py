"""A start that says the same as the first one is the same saga, however it is written and whoever wrote it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import StartConflict
from choros.messages import Command, Done, Message
from choros.roles.addresses import Addresses
from choros.roles.roles import running
from choros.runtime.client.client import Client
from choros.saga.nodes import Pivot
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Record
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.wire.canonical import canonical


class Order(Message):
    id: str
    tags: frozenset[int] = frozenset()
    lines: dict[str, int] = {}  # noqa: RUF012  # pydantic copies it
    total: Decimal = Decimal(0)
    rate: float = 0.0
    at: datetime | None = None


class Work(Command[Done]):
    id: str


def work(order: Order) -> Work:
    return Work(id=order.id)


service = Service("svc")


@service.handles(Work)
async def done(command: Work) -> Done:
    return Done()


saga = Saga("same", start=Order, key=lambda order: order.id, steps=(Pivot(work, to="svc"),))
app = App("same", sagas=[saga], services=[service])
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAID: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (dict(lines={"x": 1, "y": 2}), dict(lines={"y": 2, "x": 1})),
    (dict(tags=frozenset([0, 8])), dict(tags=frozenset([8, 0]))),
    (dict(total=Decimal("10")), dict(total=Decimal("10.00"))),
    (dict(rate=0.0), dict(rate=-0.0)),
    (dict(at=MOMENT), dict(at=MOMENT.astimezone(timezone(timedelta(hours=2))))),
]


@pytest.mark.parametrize(("one", "other"), SAID)
async def test_an_equal_message_starts_no_other_saga(one: dict[str, Any], other: dict[str, Any]) -> None:
    async with running(app, Addresses("memory://", "memory://", "memory://")) as client:
        begun = await client.start(saga, Order(id="1", **one))
        assert await client.start(saga, Order(id="1", **other)) == begun
        assert (await client.run(saga, Order(id="1", **other))).status == "completed"
        with pytest.raises(StartConflict):
            await client.start(saga, Order(id="1", **other | dict(total=Decimal("10.01"))))


@dataclass
class Scene:
    """A client alone, and its store."""

    client: Client
    store: MemoryStore

    async def begun_by_an_older_choros(self, body: str) -> Record:
        """A saga whose digest is of the text as it was sent."""
        order = Order.from_json(body)
        saga_id = await self.client.start(saga, order)
        record = self.store._rows.records[saga_id]
        state = json.loads(record.state) | {"start": body}
        older = replace(record, digest=hashlib.sha256(body.encode()).hexdigest(), state=json.dumps(state))
        self.store._rows.records[saga_id] = older
        return older


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    transport, store = MemoryTransport(MemoryBroker(), "same"), MemoryStore()
    await transport.connect()
    await transport.declare(app.topology)
    await store.open()
    async with Client(app, store=store, transport=transport) as client:
        yield Scene(client, store)
    await transport.close()


@pytest.mark.parametrize(("one", "other"), SAID)
async def test_a_saga_of_an_older_choros_is_the_same_saga(
    scene: Scene, one: dict[str, Any], other: dict[str, Any]
) -> None:
    older = await scene.begun_by_an_older_choros(Order(id="1", **one).model_dump_json())
    for said in (one, other):
        assert await scene.client.start(saga, Order(id="1", **said)) == older.saga_id
    with pytest.raises(StartConflict):
        await scene.client.start(saga, Order(id="1", **one | dict(total=Decimal("10.01"))))


async def test_a_message_without_such_values_has_the_digest_that_it_always_had(scene: Scene) -> None:
    body = '{"id":"1","tags":[],"lines":{},"total":"0","rate":0.0,"at":null}'
    record = scene.store._rows.records[await scene.client.start(saga, Order(id="1"))]
    assert record.digest == hashlib.sha256(body.encode()).hexdigest()


async def test_what_its_class_cannot_read_any_more_conflicts(scene: Scene) -> None:
    older = await scene.begun_by_an_older_choros(Order(id="1").model_dump_json())
    state = json.loads(older.state) | {"start": '{"id":1}'}
    scene.store._rows.records[older.saga_id] = replace(older, state=json.dumps(state), digest="another")
    with pytest.raises(StartConflict):
        await scene.client.start(saga, Order(id="1"))


async def test_of_a_deleted_saga_the_digests_are_left(scene: Scene) -> None:
    """That of an older choros knows only the text as it was sent; a newer one's knows what it says."""
    one: dict[str, Any] = dict(lines={"x": 1, "y": 2})
    other: dict[str, Any] = dict(lines={"y": 2, "x": 1})
    older = await scene.begun_by_an_older_choros(Order(id="1", **one).model_dump_json())
    newer = replace(older, digest=hashlib.sha256(canonical_text(**one).encode()).hexdigest())
    for record, same in ((older, [one]), (newer, [one, other])):
        scene.store._rows.records[older.saga_id] = replace(record, state="", gone=True, status="completed")
        for said in same:
            assert await scene.client.start(saga, Order(id="1", **said)) == older.saga_id
    with pytest.raises(StartConflict):
        await scene.client.start(saga, Order(id="1", total=Decimal(3)))


def canonical_text(**said: Any) -> str:
    order = Order(id="1", **said)
    return canonical(order, order.to_json())

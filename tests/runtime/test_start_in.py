"""A program that writes its row and asks for a saga in one transaction: both, or neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from choros import (
    Addresses,
    App,
    Headers,
    Message,
    Saga,
    SagaNotFound,
    StartConflict,
    StoreUnreachable,
    UsageError,
    blocking_start_in,
    running,
    start_in,
)
from choros.roles.metrics import Metrics
from choros.roles.roles import open_role
from choros.runtime.client.client import Client
from choros.runtime.client.start_outbox import StartRelay, list_set_aside, place_of, start_again, started_by
from choros.runtime.host.vitals import Vitals
from choros.store.barrier import Database, Row, Transaction, value_of
from choros.store.postgres.barrier import PostgresDatabase
from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase
from tests.runtime.test_http_face import samples
from tests.runtime.test_sessions import PlaceOrder, saga, shop
from tests.store.conftest import opened, postgres_schema

__all__ = ["opened", "postgres_schema"]

O1 = PlaceOrder(order="o1", amount=42)


class Shop:
    """The running shop, and a front that writes its orders into a database of its own."""

    def __init__(self, app: App, client: Client, engine: AsyncEngine, relay: StartRelay, rows: Database) -> None:
        self.app, self.client, self.engine, self.relay, self.rows = app, client, engine, relay, rows

    async def place(self, order: PlaceOrder, *, fails: bool = False) -> str:
        async with AsyncSession(self.engine) as session, session.begin():
            await session.execute(text("INSERT INTO orders VALUES (:order)"), {"order": order.order})
            saga_id = await start_in(session, self.app, saga, order)
            if fails:
                raise ZeroDivisionError
        return saga_id

    async def orders(self) -> list[str]:
        async with self.engine.connect() as connection:
            return list(await connection.scalars(text("SELECT id FROM orders")))

    async def row(self, saga_id: str) -> Row | None:
        async def job(tx: Transaction) -> Row | None:
            return await tx.read_row(saga_id)

        return value_of(*await self.rows.run([job]))


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Shop]:
    url, app = f"sqlite+aiosqlite:///{tmp_path}/front.db", shop()
    engine, rows = create_async_engine(url), SqlAlchemyDatabase(url, place_of(app))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (id TEXT PRIMARY KEY)"))
    await rows.open()
    async with running(
        app, Addresses("memory://", "memory://", f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
    ) as client:
        relay = StartRelay(app, started_by(client), rows, remember=60.0)
        yield Shop(app, client, engine, relay, rows)
    await rows.close()
    await engine.dispose()


async def test_what_is_committed_starts_and_is_started_once(front: Shop) -> None:
    saga_id = await front.place(O1)
    with pytest.raises(SagaNotFound):
        await front.client.wait(saga_id)
    assert [await front.relay.round(), await front.relay.round()] == [1, 0]
    assert (await front.client.wait(saga_id)).status == "completed"
    row = await front.row(saga_id)
    assert row is not None
    assert row.state == "left"


async def test_it_starts_with_the_headers_that_it_was_asked_for_with(front: Shop) -> None:
    async with AsyncSession(front.engine) as session, session.begin():
        saga_id = await start_in(session, front.app, saga, O1, headers={"tenant": "acme"})
        with pytest.raises(UsageError, match="cannot be sent"):
            await start_in(session, front.app, saga, O1, headers={"Tenant": "acme"})
    assert await front.relay.round() == 1
    assert (await front.client.show(saga_id)).instance.own_headers == '{"tenant":"acme"}'


async def test_what_is_rolled_back_never_starts(front: Shop) -> None:
    with pytest.raises(ZeroDivisionError):
        await front.place(O1, fails=True)
    assert (await front.orders(), await front.relay.round()) == ([], 0)


async def test_the_same_again_is_the_same_saga_and_another_one_is_refused(front: Shop) -> None:
    saga_id = await front.place(O1)
    async with AsyncSession(front.engine) as session, session.begin():
        assert await start_in(session, front.app, saga, O1) == saga_id
        with pytest.raises(StartConflict):
            await start_in(session, front.app, saga, PlaceOrder(order="o1", amount=43))
    assert await front.relay.round() == 1
    async with AsyncSession(front.engine) as session, session.begin():
        assert await start_in(session, front.app, saga, O1) == saga_id
    assert await front.relay.round() == 0


async def test_one_that_can_never_be_carried_out_is_set_aside_and_holds_nobody(front: Shop) -> None:
    await front.client.start(saga, PlaceOrder(order="o1", amount=43))  # by somebody who asked the store itself
    refused, other = await front.place(O1), await front.place(PlaceOrder(order="o2", amount=1))
    assert [await front.relay.round(), await front.relay.round()] == [2, 0]
    assert [getattr(await front.row(one), "state", None) for one in (refused, other)] == ["mark", "left"]
    (aside,) = await list_set_aside(front.rows, 9)
    assert (aside.saga_id, aside.saga, aside.version, aside.key) == (refused, "order", 1, "o1")
    assert "another" in aside.why


async def test_one_that_was_set_aside_is_tried_again_when_somebody_says_so(front: Shop) -> None:
    saga_id = await front.place(O1)
    broken = StartRelay(front.app, _breaks, front.rows, remember=60.0)
    assert await broken.round() == 1
    assert [one.why for one in await list_set_aside(front.rows, 9)] == ["ValueError"]  # and nothing of what it holds
    await start_again(front.rows, saga_id)
    assert (await list_set_aside(front.rows, 9), await front.relay.round()) == ([], 1)
    assert (await front.client.wait(saga_id)).status == "completed"
    with pytest.raises(UsageError, match="is set aside here"):
        await start_again(front.rows, saga_id)


async def _breaks(saga: object, message: Message, *, key: str, headers: Headers) -> str:
    raise ValueError("card 4711")


async def test_what_is_no_start_at_all_is_set_aside_too(front: Shop) -> None:
    async def job(tx: Transaction) -> None:
        await tx.write_row(Row(key="x1", state="publishing", content="no json", began=1.0, since=1.0))

    value_of(*await front.rows.run([job]))
    assert await front.relay.round() == 1
    assert [(one.saga_id, one.why) for one in await list_set_aside(front.rows, 9)] == [("x1", "JSONDecodeError")]


async def test_many_of_a_version_that_nobody_knows_hold_up_no_other(
    front: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("choros.runtime.client.start_outbox.AT_ONCE", 3)
    newer = Saga("order", version=2, start=PlaceOrder, key=lambda order: order.order, steps=saga.steps)
    ahead = App("shop", sagas=[newer], services=front.app.services.values())
    async with AsyncSession(front.engine) as session, session.begin():
        for number in range(3):
            await start_in(session, ahead, newer, PlaceOrder(order=f"n{number}", amount=1))
    saga_id = await front.place(O1)
    assert [await front.relay.round(), await front.relay.round(), await front.relay.round()] == [0, 1, 0]
    assert (await front.client.wait(saga_id)).status == "completed"
    assert len(await front.rows.listed("publishing", 9)) == 3


async def test_one_of_a_version_that_this_process_does_not_know_waits(front: Shop) -> None:
    newer = Saga("order", version=2, start=PlaceOrder, key=lambda order: order.order, steps=saga.steps)
    async with AsyncSession(front.engine) as session, session.begin():
        await start_in(session, App("shop", sagas=[newer], services=front.app.services.values()), newer, O1)
    assert (await front.relay.round(), len(await front.rows.listed("publishing", 9))) == (0, 1)


async def test_a_store_that_is_away_leaves_them_for_later(front: Shop) -> None:
    await front.place(O1)
    away = StartRelay(front.app, _away, front.rows, remember=60.0)
    assert [await away.round(), await front.relay.round()] == [0, 1]


async def _away(saga: object, message: Message, *, key: str, headers: Headers) -> str:
    raise StoreUnreachable("It is away.")


@pytest.mark.parametrize("session", [None, "a text", object()])
async def test_what_is_no_session_is_refused(session: object) -> None:
    with pytest.raises(UsageError, match="can be written through"):
        await start_in(session, shop(), saga, O1)


async def test_through_asyncpg_it_needs_a_transaction(postgres_schema: str) -> None:
    app, rows = shop(), PostgresDatabase(postgres_schema, place_of(shop()), connections=1)
    await rows.open()
    connection = await asyncpg.connect(postgres_schema)
    with pytest.raises(UsageError, match="No transaction is open"):
        await start_in(connection, app, saga, O1)
    async with connection.transaction():
        saga_id = await start_in(connection, app, saga, O1)
        assert await rows.listed("publishing", 9) == []
        assert await start_in(connection, app, saga, O1) == saga_id
    assert [row.key for row in await rows.listed("publishing", 9)] == [saga_id]
    await connection.close()
    await rows.close()


def placed_by_who_blocks(front: Shop, tmp_path: Path) -> str:
    engine, other = create_engine(f"sqlite:///{tmp_path}/front.db"), PlaceOrder(order="o1", amount=43)
    with Session(engine) as session:
        blocking_start_in(session, front.app, saga, other)
        session.rollback()
    with Session(engine) as session, session.begin():
        session.execute(text("INSERT INTO orders VALUES ('o1')"))
        saga_id = blocking_start_in(session, front.app, saga, O1, headers={"tenant": "acme"})
    with engine.begin() as connection:
        assert blocking_start_in(connection, front.app, saga, O1) == saga_id
        with pytest.raises(StartConflict):
            blocking_start_in(connection, front.app, saga, other)
    engine.dispose()
    return saga_id


async def test_through_a_session_that_blocks_it_is_the_same(front: Shop, tmp_path: Path) -> None:
    saga_id = placed_by_who_blocks(front, tmp_path)
    assert (await front.orders(), await front.relay.round()) == (["o1"], 1)
    assert (await front.client.wait(saga_id)).status == "completed"


async def test_through_psycopg_it_needs_a_transaction(postgres_schema: str) -> None:
    app, rows = shop(), PostgresDatabase(postgres_schema, place_of(shop()), connections=1)
    await rows.open()

    def asks() -> str:
        with psycopg.connect(postgres_schema, autocommit=True) as connection:
            with pytest.raises(UsageError, match="No transaction is open"):
                blocking_start_in(connection, app, saga, O1)
            with connection.transaction():
                saga_id = blocking_start_in(connection, app, saga, O1)
        with psycopg.connect(postgres_schema) as connection:  # it begins with the first statement
            assert blocking_start_in(connection, app, saga, O1) == saga_id
            with pytest.raises(StartConflict):
                blocking_start_in(connection, app, saga, PlaceOrder(order="o1", amount=43))
            blocking_start_in(connection, app, saga, PlaceOrder(order="lost", amount=1))
            connection.rollback()
        return saga_id

    saga_id = await asyncio.to_thread(asks)
    assert [row.key for row in await rows.listed("publishing", 9)] == [saga_id]
    await rows.close()


@pytest.mark.parametrize("session", [None, "a text", object()])
def test_what_is_no_session_that_blocks_is_refused(session: object) -> None:
    with pytest.raises(UsageError, match=r"can be written through .*or await start_in"):
        blocking_start_in(session, shop(), saga, O1)


def waits(told: Mapping[str, float]) -> float:
    """For how long the oldest start has, as Prometheus is told."""
    (age,) = [value for name, value in told.items() if name.startswith("choros_outbox_oldest_age") and "starts" in name]
    return age


async def test_the_role_takes_them_over_until_it_is_stopped(front: Shop, tmp_path: Path) -> None:
    addresses = Addresses(
        "memory://starts", f"sqlite:///{tmp_path}/sagas.db", f"sqlite+aiosqlite:///{tmp_path}/front.db"
    )
    saga_id = await front.place(O1)
    async with AsyncExitStack() as stack:
        vitals = Vitals("starts")
        (relay,) = vitals.receivers = await open_role(front.app, "starts", addresses, stack, vitals)
        metrics = Metrics(front.app, vitals)
        metrics.attach(vitals.receivers)
        await asyncio.sleep(2)
        before = samples((await metrics())[1].decode())
        running_role = asyncio.create_task(relay.run())
        while relay.last_delivery is None:
            await asyncio.sleep(0.01)
        relay.stop()
        await running_role
        after = samples((await metrics())[1].decode())
    assert (waits(before) > 0, waits(after)) == (True, 0)
    assert 'choros_sagas_started_total{saga="order"}' not in before
    assert any("choros_sagas_started_total" in name and value == 1 for name, value in after.items())
    row = await front.row(saga_id)
    assert row is not None
    assert row.state == "left"

"""A sleep of months on real stores: it outlives whoever began it, and is over when its moment has come, and not before.

The clock is the test's; nothing sleeps for longer than a look at the store takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from choros.cli.waits import as_data, waiting_lines
from choros.desk.awaited import asleep
from choros.desk.overview import summary_of
from choros.desk.timeline import timeline
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.nodes import Pivot, Sleep, Step
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from choros.store.postgres.sagas import PostgresStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from tests.patience import PATIENCE
from tests.runtime.stage import Stage, kinds, make_app, staged
from tests.saga import shop
from tests.store.conftest import postgres_schema

__all__ = ["postgres_schema"]

DAY = 86_400.0
BEGAN = 1_790_000_000.0
Opening = Callable[[], Store]

saga = Saga(
    "order",
    start=shop.PlaceOrder,
    key=lambda order: order.order_id,
    steps=(
        Step(shop.charge_payment, to="payment", compensation=shop.refund_payment, timeout=timedelta(hours=1)),
        Sleep(timedelta(days=100), name="cooling_off"),
        Pivot(shop.ship_parcel, to="shipping"),
    ),
)


@pytest.fixture(
    params=["memory", "sqlite", *(pytest.param(one, marks=pytest.mark.servers) for one in ("redis", "postgres"))]
)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens what the last one has left."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "sagas.db", "shop.shop")
    if request.param == "redis":
        url, scope = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
        return lambda: RedisStore(url, scope)
    if request.param == "postgres":
        schema = request.getfixturevalue("postgres_schema")
        return lambda: PostgresStore(schema, "shop.shop")
    first = MemoryStore()
    return lambda: MemoryStore(first)


@asynccontextmanager
async def at_work(stage: Stage, opening: Opening, days: float) -> AsyncIterator[tuple[Client, Store]]:
    """An orchestrator on the reopened store, so many days after the saga began."""
    store, app = opening(), make_app(saga)
    store.now = lambda: BEGAN + days * DAY  # type: ignore[method-assign]
    await store.open()
    try:
        async with Client(app, store=store, transport=stage.transport) as client:
            made = Orchestrator(app, transport=stage.transport, store=store, timers_every=0.02)
            await made.declare()
            running = asyncio.create_task(made.run())
            yield client, store
            made.stop()
            async with asyncio.timeout(PATIENCE):
                await running
    finally:
        await store.close()


async def test_months_pass_over_restarts_and_nothing_is_early_or_lost(opening: Opening) -> None:
    async with staged(saga) as stage:
        async with at_work(stage, opening, 0) as (client, _):
            saga_id = await client.start(saga, shop.ORDER)
            await stage.carry_out("payment", shop.CHARGED)
            async with asyncio.timeout(PATIENCE):
                while not asleep((await client.show(saga_id)).instance):
                    await asyncio.sleep(0.01)
            assert asleep((await client.show(saga_id)).instance) == [("cooling_off", BEGAN + 100 * DAY)]
        async with at_work(stage, opening, 100 - 1e-6) as (_, store):
            assert await store.next_due(make_app(saga).kinds) == BEGAN + 100 * DAY
            await stage.nothing("shop.shipping")
        async with at_work(stage, opening, 100) as (client, _):
            assert (await stage.command("shipping")).step == "ship_parcel"
            account = await client.show(saga_id)
            assert (kinds(account.history[-1]), asleep(account.instance)) == (["woken", "sent"], [])


async def test_a_person_reads_that_it_sleeps_and_until_when() -> None:
    first = MemoryStore()
    async with staged(saga) as stage, at_work(stage, lambda: MemoryStore(first), 0) as (client, store):
        saga_id = await client.start(saga, shop.ORDER)
        await stage.carry_out("payment", shop.CHARGED)
        async with asyncio.timeout(PATIENCE):
            while not asleep((await client.show(saga_id)).instance):
                await asyncio.sleep(0.01)
        account = await client.show(saga_id)
        lines = waiting_lines("shop", "memory://", account.record, account.instance, None, store.now())
        assert lines == ["sleeps at cooling_off until 2026-12-30T14:13:20Z, 100d from now"]
        assert as_data(None, account.instance) == {
            "sleeps": [{"step": "cooling_off", "until": "2026-12-30T14:13:20.000000Z"}]
        }
        assert any("cooling_off" in line and "sleeps for 100 days" in line for line in timeline(account, saga))
        assert (await summary_of({}, store, account.record)).step == "cooling_off"

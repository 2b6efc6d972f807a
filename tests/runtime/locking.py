"""A stage for sagas under a lock: the shop on memory stores, with the rows of the locks beside the sagas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from choros import Lock
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from tests.patience import PATIENCE
from tests.runtime.stage import Stage, staged
from tests.saga import shop

LOCK = Lock("item", key=lambda order: order.order_id.partition("/")[0].split("+"), within=timedelta(hours=1))


def order(order_id: str) -> shop.PlaceOrder:
    """The keys are what stands before the slash."""
    return shop.ORDER.model_copy(update={"order_id": order_id})


def locked_saga(lock: Lock = LOCK, name: str = "order", **more: Any) -> Saga[shop.PlaceOrder]:
    given: Any = {"completed": shop.order_confirmed, "compensated": shop.order_rejected, **more}
    return Saga(
        name, start=shop.PlaceOrder, key=lambda one: one.order_id, steps=shop.order_saga.steps, lock=lock, **given
    )


@dataclass
class LockStage:
    """What a test has in hand."""

    stage: Stage
    saga: Saga[shop.PlaceOrder]
    rows_in: MemoryStore

    @property
    def rows(self) -> LockRows:
        return LockRows(self.rows_in, self.stage.store)

    async def orchestrator(self, **more: Any) -> Orchestrator:
        return await self.stage.orchestrator(locks=self.rows_in, **more)

    async def client(self) -> Client:
        client = Client(self.stage.app, store=self.stage.store, transport=self.stage.transport, locks=self.rows_in)
        return await self.stage.stack.enter_async_context(client)

    async def holds(self, key: str, holder: str, *waiting: str) -> None:
        """Wait until this saga has the key, and these wait for it in this order."""
        async with asyncio.timeout(PATIENCE):
            while True:
                row = await self.rows.row(f"item:{key}")
                if (row.holder, *(one.saga_id for one in row.waiting)) == (holder, *waiting):
                    return
                await asyncio.sleep(0.01)

    async def begun(self, saga_id: str) -> None:
        """Wait until this saga knows that it has its lock."""
        async with asyncio.timeout(PATIENCE):
            while (await self.stage.store.load([saga_id]))[saga_id].record.state.find('"taken":true') < 0:
                await asyncio.sleep(0.01)

    async def finish(self) -> str:
        """Carry out all of the order that is under way; its id."""
        await self.stage.carry_out("payment")
        await self.stage.carry_out("inventory")
        return (await self.stage.carry_out("shipping")).correlation_id


@asynccontextmanager
async def locking(saga: Saga[shop.PlaceOrder] | None = None, *others: Saga[Any]) -> AsyncIterator[LockStage]:
    saga = saga or locked_saga()
    async with staged(saga, *others) as stage:
        rows = MemoryStore(stage.store, namespace="choros.locks")
        await rows.open()
        yield LockStage(stage, saga, rows)

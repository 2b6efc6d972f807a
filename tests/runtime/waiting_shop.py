"""A shop whose payment service nobody runs, in memory: its sagas wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from choros import Addresses, App, Client, Command, Done, Message, Pivot, Saga, Service
from choros.cli.waits import waiting_lines
from choros.desk.awaited import Awaited, waits_for
from choros.roles.roles import open_role, run_together, stop_all
from choros.runtime.host.vitals import Vitals
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.policy import DEFAULT_TIMEOUT

TIMEOUT = DEFAULT_TIMEOUT.total_seconds()


class Order(Message):
    id: str


class Charge(Command[Done]):
    id: str


def charge(order: Order) -> Charge:
    return Charge(id=order.id)


def application(version: int = 1) -> App:
    """Its service is declared, and has no handler here: nobody runs it."""
    order = Saga("order", start=Order, key=lambda order: order.id, version=version, steps=[Pivot(charge, to="payment")])
    return App("shop", sagas=[order], services=[Service("payment", commands=[Charge])])


@dataclass
class Shop:
    app: App
    part: Orchestrator
    client: Client
    vitals: Vitals

    async def start(self, order: str = "order-1042") -> str:
        return await self.client.start(self.app.saga("order"), Order(id=order))

    async def waits(self, saga_id: str) -> Awaited:
        found = await waits_for(self.app.sagas, "shop", self.part.store, saga_id, self.part.transport.attendance)
        assert found is not None
        return found

    async def lines(self, saga_id: str) -> list[str]:
        """What `saga show` says that it waits for."""
        account = await self.client.show(saga_id)
        waits = await waits_for(self.app.sagas, "shop", self.part.store, saga_id, self.part.transport.attendance)
        store = self.part.store
        return waiting_lines("shop", "sqlite:///sagas.db", account.record, account.instance, waits, store.now())


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    app = application()
    async with AsyncExitStack() as stack:
        vitals = Vitals("orchestrator")
        parts: Any = await open_role(app, "orchestrator", Addresses("memory://", "memory://"), stack, vitals)
        running = asyncio.create_task(run_together(parts))
        (part,) = parts
        client = Client(app, store=part.store, transport=part.transport, decider=part.decider)
        yield Shop(app, part, client, vitals)
        await stop_all(parts)
        await running

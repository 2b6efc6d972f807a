"""choros at work on the order saga: orchestrator, three participants and a subscriber on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.measuring import Arrivals
from benchmarks.shop import order, shop
from choros.app.service import Service
from choros.roles.roles import RunningRole, stop_all
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database
from choros.store.sagas import Store
from choros.transport.port import Transport
from reference_services.order.saga import order_saga

_LONG = timedelta(minutes=5)


@dataclass(frozen=True)
class Adapters:
    """How to make what the application runs on; nothing is connected yet."""

    transport: Callable[[], Transport]
    store: Callable[[], Store]
    database: Callable[[str], Database]
    """The database of a service, by its name."""


class RunningShop:
    """Carries orders out through a client that shares the orchestrator's decider."""

    def __init__(self, client: Client, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self._client = client

    async def carry_out(self, saga: str) -> None:
        """Start the saga and wait until it is completed."""
        outcome = await self._client.run(order_saga, order(saga), timeout=_LONG)
        if outcome.status != "completed":
            raise AssertionError(f"Saga {saga} ended {outcome.status}.")


@dataclass(frozen=True)
class Application:
    """A contestant: the whole application in this process, as `choros run --role all` has it."""

    name: str
    namespace: str
    adapters: Adapters

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RunningShop]:
        """Everything connected and running; stopped and closed at the end."""
        arrivals = Arrivals()
        app = shop(self.namespace, arrivals.heard)
        transport, store = self.adapters.transport(), self.adapters.store()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(transport.close)
            await transport.connect()
            stack.push_async_callback(store.close)
            await store.open()
            orchestrator = Orchestrator(app, transport=transport, store=store)
            await orchestrator.declare()
            services = [await self._service(one, transport, stack) for one in app.services.values()]
            await stack.enter_async_context(_running([orchestrator, *services]))
            client = Client(app, store=store, transport=transport, decider=orchestrator.decider, timeout=_LONG)
            yield RunningShop(client, arrivals)

    async def _service(self, service: Service, transport: Transport, stack: AsyncExitStack) -> RunningRole:
        database = self.adapters.database(service.name)
        stack.push_async_callback(database.close)
        await database.open()
        kind = Participant if service.commands else Subscriber
        return kind(service, namespace=self.namespace, transport=transport, database=database)


@asynccontextmanager
async def _running(parts: Sequence[RunningRole]) -> AsyncIterator[None]:
    """All of them in the background; one that fails ends the block with its error."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part.run())
        try:
            yield
        finally:
            await stop_all(list(parts))

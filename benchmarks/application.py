"""choros at work on the order saga: all of it on one event loop, or a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.measuring import Heard, Part
from benchmarks.shop import order, shop
from choros.app.app import App
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


@dataclass(frozen=True)
class RunningShop:
    """Carries orders out through a client that shares the orchestrator's decider."""

    client: Client
    ends: str

    async def carry_out(self, saga: str) -> None:
        """Start the saga and wait until it has ended."""
        outcome = await self.client.run(order_saga, order(saga), timeout=_LONG)
        if outcome.status != self.ends:
            raise AssertionError(f"Saga {saga} ended {outcome.status}.")


class Elsewhere:
    """What stands for the shop where no orchestrator runs."""

    async def carry_out(self, saga: str) -> None:
        """Not here."""
        raise AssertionError("No orchestrator runs in this process.")


@dataclass(frozen=True)
class Application:
    """A contestant: in one process it is what `choros run --role all` has."""

    namespace: str
    adapters: Adapters
    refused: bool = False
    """Whether shipping refuses every order, which is then undone."""
    subscribers: int = 1

    @asynccontextmanager
    async def opened(self, part: Part, heard: Heard) -> AsyncIterator[RunningShop | Elsewhere]:
        """Everything connected and running; stopped and closed at the end."""
        app = shop(self.namespace, heard, refused=self.refused, subscribers=self.subscribers)
        transport = self.adapters.transport()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(transport.close)
            await transport.connect()
            await transport.declare(app.topology)
            roles: list[RunningRole] = []
            running: RunningShop | Elsewhere = Elsewhere()
            if Part.ORCHESTRATOR in part:
                orchestrator = await self._orchestrator(app, transport, stack)
                roles.append(orchestrator)
                running = self._shop(app, orchestrator)
            if Part.SERVICES in part:
                roles += [await self._service(one, transport, stack) for one in app.services.values()]
            await stack.enter_async_context(_running(roles))
            yield running

    async def _orchestrator(self, app: App, transport: Transport, stack: AsyncExitStack) -> Orchestrator:
        store = self.adapters.store()
        stack.push_async_callback(store.close)
        await store.open()
        orchestrator = Orchestrator(app, transport=transport, store=store)
        await orchestrator.declare()
        return orchestrator

    def _shop(self, app: App, orchestrator: Orchestrator) -> RunningShop:
        client = Client(
            app,
            store=orchestrator.store,
            transport=orchestrator.transport,
            decider=orchestrator.decider,
            timeout=_LONG,
        )
        return RunningShop(client, "compensated" if self.refused else "completed")

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

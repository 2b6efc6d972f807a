"""choros at work on the order saga: all of it on one event loop, or a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from benchmarks.measuring import Heard, Part, Shop
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
    orchestrating: Mapping[str, Any] = field(default_factory=dict)
    serving: Mapping[str, Any] = field(default_factory=dict)
    """What the orchestrator and the participants are made with besides."""

    def app(self, heard: Heard) -> App:
        """What is declared."""
        return shop(self.namespace, heard, refused=self.refused, subscribers=self.subscribers)

    def shop(self, app: App, client: Client) -> Shop:
        """What carries sagas out, through this client."""
        return RunningShop(client, "compensated" if self.refused else "completed")

    @asynccontextmanager
    async def opened(self, part: Part, heard: Heard) -> AsyncIterator[Shop]:
        """Everything connected and running; stopped and closed at the end."""
        app = self.app(heard)
        transport = self.adapters.transport()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(transport.close)
            await transport.connect()
            await transport.declare(app.topology)
            roles: list[RunningRole] = []
            running: Shop = Elsewhere()
            if Part.ORCHESTRATOR in part:
                orchestrator = await self._orchestrator(app, transport, stack)
                roles.append(orchestrator)
                running = self.shop(app, _client(app, orchestrator))
            if Part.SERVICES in part:
                roles += [await self._service(one, transport, stack) for one in app.services.values()]
            await stack.enter_async_context(_running(roles))
            yield running

    async def _orchestrator(self, app: App, transport: Transport, stack: AsyncExitStack) -> Orchestrator:
        store = self.adapters.store()
        stack.push_async_callback(store.close)
        await store.open()
        orchestrator = Orchestrator(app, transport=transport, store=store, **self.orchestrating)
        await orchestrator.declare()
        return orchestrator

    async def _service(self, service: Service, transport: Transport, stack: AsyncExitStack) -> RunningRole:
        database = self.adapters.database(service.name)
        stack.push_async_callback(database.close)
        await database.open()
        if service.commands:
            return Participant(
                service, namespace=self.namespace, transport=transport, database=database, **self.serving
            )
        return Subscriber(service, namespace=self.namespace, transport=transport, database=database)


def _client(app: App, orchestrator: Orchestrator) -> Client:
    store, transport = orchestrator.store, orchestrator.transport
    return Client(app, store=store, transport=transport, decider=orchestrator.decider, timeout=_LONG)


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

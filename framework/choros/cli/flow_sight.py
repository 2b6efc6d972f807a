"""Opening all that may tell of a flow. What cannot be opened is said, and the rest is read all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from choros.app.app import App
from choros.app.flow_part import FIRST_RUN, flow_id_of
from choros.app.service import Service
from choros.cli.places import Places, opened_inbox
from choros.cli.waits import PATIENCE
from choros.cli.words import existing
from choros.desk.flow_reading import FactPlace, FlowReading, InboxPlace, OutboxFacts, SagaFacts, ServiceInbox
from choros.desk.flow_tree import FlowTree, flow_tree
from choros.desk.hearsay import hearsay_of, terms_of
from choros.desk.log_facts import LogFacts
from choros.errors import BrokerUnreachable, ChorosError, SagaNotFound
from choros.roles.addresses import Addresses, open_transport, opened_facts, opened_store
from choros.runtime.client.program_facts import about_id, program_source
from choros.transport.inspection import LookingTransport
from choros.transport.topology import Names

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FlowPlaces:
    """Where to look, and from when on in the fact log."""

    broker: str
    stores: Places
    databases: Places
    since: float | None
    told: Callable[[int], None]
    """Hears how many facts of the log were read."""


async def flow_seen(
    apps: Sequence[App], places: FlowPlaces, typed: str, run: int = FIRST_RUN
) -> tuple[FlowTree, float]:
    """The flow that goes by this id or key, and the moment of the look; `run`: which of those with the key. Raises
    SagaNotFound where nothing is known."""
    hearsay = hearsay_of(apps)
    async with AsyncExitStack() as stack:
        sight = _Sight(places, stack)
        transport = await sight.broker(hearsay.namespace, log=any(app.fact_log for app in apps))
        for app in apps:
            await sight.sagas(app)
        for app, service in _services(apps):
            await sight.service(app, service)
        reading = FlowReading(
            facts=sight.facts, inboxes=sight.inboxes, sagas=sight.stores, hearers=hearsay.hearers,
            unreached=sight.unreached,
        )  # fmt: skip
        rows = await reading.read(
            [*_ids(apps, typed, run), *[id for store in sight.stores for id in await store.refers(typed)]]
        )
        if not rows.facts and not rows.sagas:
            raise _nothing(typed, rows.unreached)
        if transport:
            await reading.ask_broker(transport, Names(hearsay.namespace))
        return flow_tree(rows, hearsay.hearers, terms_of(apps)), rows.now


def _nothing(typed: str, unreached: Sequence[str]) -> SagaNotFound:
    beside = f" Not read: {'; '.join(unreached)}." if unreached else ""
    hint = (
        "the id or start key of a saga, the correlation id of a flow, or the key that a program gave its first fact;"
        " where it has just begun, again once somebody has handled a fact of it."
    )
    return SagaNotFound(f"Nothing is known of a flow {typed!r}.{beside}", hint)


def _ids(apps: Sequence[App], typed: str, run: int) -> list[str]:
    """What may be meant: the flow's own id, its start key, or the key by which a program began it."""
    sources = [program_source(app.namespace, name) for app in apps for name in app.programs]
    flows = {(app.namespace, name) for app in apps for name, _ in app.choreographies}
    begun = [flow_id_of(namespace, name, typed, run) for namespace, name in sorted(flows)]
    return [typed, *begun, *(about_id(source, typed) for source in sources)]


def _services(apps: Sequence[App]) -> list[tuple[App, Service]]:
    """Each service once: as the application has it that knows its database."""
    found: dict[str, tuple[App, Service]] = {}
    for app in apps:
        for name, service in app.services.items():
            if name not in found or (found[name][1].database is None and service.database):
                found[name] = app, service
    return [(app, service) for app, service in found.values() if service.facts or service.publishes]


class _Sight:
    """What could be opened, and what could not."""

    def __init__(self, places: FlowPlaces, stack: AsyncExitStack) -> None:
        self._places, self._stack = places, stack
        self.facts: list[FactPlace] = []
        self.inboxes: list[InboxPlace] = []
        self.stores: list[SagaFacts] = []
        self.unreached: list[str] = []

    async def _tried(self, what: str, opening: AbstractAsyncContextManager[T]) -> T | None:
        try:
            return await self._stack.enter_async_context(opening)
        except ChorosError as error:
            self.unreached.append(f"{what}: {error.sentence}")
            return None

    async def broker(self, namespace: str, *, log: bool) -> LookingTransport | None:
        """A broker that answers soon, with the fact log on it if one is kept."""
        transport = open_transport(self._places.broker, namespace, "flow")
        found = await self._tried("the broker", _connected(transport, self._places.broker))
        if not log:
            self.unreached.append("the fact log: none is kept (App(..., fact_log=FactLog()))")
        elif found is None:
            self.unreached.append("the fact log: it is on the broker")
        else:
            self.facts.append(LogFacts(found, Names(namespace), self._places.since, self._places.told))
        return found

    async def sagas(self, app: App) -> None:
        """The stores of an application, if it has sagas."""
        if not app.sagas:
            return
        addresses = Addresses(store=self._places.stores.of(app.name))
        store = await self._tried(f"the store of app.{app.name}", _there(addresses.store, opened_store(addresses, app)))
        if store is None:
            return
        kept = await self._tried("awaited facts", opened_facts(addresses, app)) if app.awaited else None
        self.stores.append(SagaFacts(app, store, kept))

    async def service(self, app: App, service: Service) -> None:
        """The database of a service: its outbox and its inbox."""
        url = self._places.databases.of(service.name)
        database = await self._tried(f"the database of {service.name}", opened_inbox(app, service, url))
        if database is None:
            return
        if service.publishes:
            self.facts.append(OutboxFacts(service.name, database))
        if service.facts and service.subscription.replicas == "every":
            self.unreached.append(f"the inboxes of {service.name}: each of its instances has its own")
        elif service.facts:
            self.inboxes.append(ServiceInbox(service, database, app.flow_part(service.name)))


@asynccontextmanager
async def _there(url: str, opening: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """What would be made by opening it is not."""
    existing(url)
    async with opening as opened:
        yield opened


@asynccontextmanager
async def _connected(transport: LookingTransport, url: str) -> AsyncIterator[LookingTransport]:
    if url.startswith("memory:"):
        raise BrokerUnreachable("one in memory ends with its process")
    try:
        try:
            async with asyncio.timeout(PATIENCE):
                await transport.connect()
        except TimeoutError:
            raise BrokerUnreachable(f"it did not answer within {PATIENCE:g} s") from None
        yield transport
    finally:
        await transport.close()

"""Whose facts a command is about: those of sagas, out of the store; those of services, out of their own databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from choros.app.app import App
from choros.app.service import Service
from choros.cli.places import opened_inbox
from choros.cli.words import existing
from choros.desk.republish import published, released
from choros.errors import UsageError, unknown
from choros.roles.addresses import Addresses, opened_store
from choros.sources import now
from choros.store.barrier import Database
from choros.store.sagas import Store
from choros.wire.envelope import Envelope

SAGAS = "sagas"
OfWhom = Annotated[
    list[str] | None,
    typer.Option("--of", metavar="NAME", help="a service's facts only, or 'sagas'; may be repeated; else those of all"),
]


@dataclass(frozen=True, slots=True)
class Publishers:
    """Those whose facts are meant."""

    sagas: bool
    services: tuple[Service, ...]

    @property
    def streams(self) -> str:
        """What their streams are called."""
        return "stream" if self.services else "saga"


def publishers_of(app: App, named: Sequence[str] | None, saga: str) -> Publishers:
    """All that publish, or those that are named; of one saga only the sagas. Raises UsageError for a name of none."""
    services = {one.name: one for one in app.services.values() if one.publishes}
    known = [*([SAGAS] if app.sagas else []), *services]
    for name in named or ():
        if name not in known:
            raise UsageError(*unknown(f"{name!r} publishes no facts that are kept.", name, known))
    if saga and any(name != SAGAS for name in named or ()):
        raise UsageError("A saga's facts are no service's.", "--of sagas, or no --saga and no --saga-id.")
    wanted = named or ([SAGAS] if saga else known)
    return Publishers(SAGAS in wanted, tuple(one for name, one in services.items() if name in wanted))


@dataclass(frozen=True, slots=True)
class PublishedFacts:
    """What they have published, where that is kept."""

    store: Store | None
    outboxes: Mapping[str, Database]

    def now(self) -> float:
        """The moment, by the clock of the store if there is one."""
        return self.store.now() if self.store else now()

    async def since(self, start: float, *, saga: str = "", saga_id: str = "") -> AsyncIterator[Sequence[Envelope]]:
        """Of that moment or later, some at a time; those of one stream in order."""
        if self.store:
            async for facts in released(self.store, start, saga=saga, saga_id=saga_id):
                yield facts
        for name, outbox in self.outboxes.items():
            async for facts in published(outbox, name, start):
                yield facts


@asynccontextmanager
async def opened_facts_of(app: App, whose: Publishers, addresses: Addresses) -> AsyncIterator[PublishedFacts]:
    """Where it is kept, open. All or none: who is told of some facts only would take them for all."""
    async with AsyncExitStack() as stack:
        store: Store | None = None
        if whose.sagas:
            existing(addresses.store)
            store = await stack.enter_async_context(opened_store(addresses, app))
        outboxes = {
            service.name: await stack.enter_async_context(opened_inbox(app, service, addresses.database))
            for service in whose.services
        }
        yield PublishedFacts(store, outboxes)

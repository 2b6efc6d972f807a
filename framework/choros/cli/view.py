"""Looking into a saga store, with the application that it belongs to or without it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from choros.cli.words import existing
from choros.errors import UsageError, unknown
from choros.roles.addresses import Addresses, opened_store, scopes_at, store_at
from choros.roles.loading import load_app
from choros.runtime.client.account import Account, account_of
from choros.runtime.client.reference import referred
from choros.saga.saga import Sagas
from choros.store.sagas import Store

MaybeApp = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        envvar=["CHOROS_APP"],
        help="package.module, or package.module:name; not needed where the store holds the sagas of one application",
    ),
]


@dataclass(frozen=True, slots=True)
class View:
    """A store that is open, and what is known of those who use it."""

    store: Store
    scope: str
    """Namespace and name of the application."""
    sagas: Sagas
    """Its declarations; none where only the store is known."""

    async def saga_named(self, name: str) -> str:
        """The name of a saga, or nothing; raises UsageError for one that neither the application nor the store has."""
        known = sorted({name for name, _ in self.sagas} or {name for name, _ in await self.store.counts()})
        if name and name not in known:
            raise UsageError(*unknown(f"There is no saga {name!r} in this application.", name, known))
        return name

    async def account(self, typed: str) -> Account:
        """All that is known of the saga that goes by this id, key or beginning of an id."""
        names: Iterable[str] = {name for name, _ in self.sagas}
        return await account_of(self.store, await referred(self.store, self.scope, typed, names), self.sagas)


@asynccontextmanager
async def looking(application: str, url: str) -> AsyncIterator[View]:
    """The store at this address, as this application sees it; without one, as the only one that uses it does."""
    existing(url)
    if application:
        loaded = load_app(application)
        async with opened_store(Addresses(store=url), loaded) as opened:
            yield View(opened, f"{loaded.namespace}.{loaded.name}", loaded.sagas)
    else:
        scope = _only(await scopes_at(url))
        store = store_at(url, scope)
        try:
            await store.open()
            yield View(store, scope, {})
        finally:
            await store.close()


def _only(scopes: Iterable[str]) -> str:
    found = list(scopes)
    if not found:
        raise UsageError("This store holds no sagas.", "the --store that the application runs with.")
    if len(found) > 1:
        raise UsageError(f"This store holds sagas of {', '.join(found)}.", "name APP, or set CHOROS_APP.")
    return found[0]

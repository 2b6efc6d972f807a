"""`choros schema`: the layout of stores and databases, and the way up from that of an older choros."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from choros.cli.asking import AppName, log_apart, run_until_done
from choros.cli.words import existing
from choros.loading import load_app
from choros.roles import DEFAULT_STORE
from choros.runtime.application import App
from choros.store.addresses import store_at
from choros.store.port import Store
from choros.store.schema import Upgraded

app = typer.Typer(no_args_is_help=True, help="How stores and databases are laid out; bring them up to this choros.")
StoreUrl = Annotated[
    str, typer.Option("--store", envvar=["CHOROS_STORE", "REDIS_URL"], help="sqlite:///file or redis://...")
]


@app.command()
def show(application: AppName, store: StoreUrl = "") -> None:
    """Say which schema version a store has."""
    run_until_done(_show(load_app(application), store or DEFAULT_STORE))


async def _show(loaded: App, store: str) -> None:
    async with _store(loaded, store) as found:
        print(f"saga store: schema version {await found.schema_version()}")


@app.command()
def upgrade(application: AppName, store: StoreUrl = "") -> None:
    """Bring what an older choros has stored to this one's schema. First stop every process that uses it.

    It may be repeated: what is done is passed over. Where several applications share a file, each is upgraded."""
    log_apart()
    run_until_done(_upgrade(load_app(application), store or DEFAULT_STORE))


async def _upgrade(loaded: App, store: str) -> None:
    async with _store(loaded, store) as found:
        print("\n".join(_told(loaded, await found.upgrade(), await found.schema_version())))


@asynccontextmanager
async def _store(loaded: App, url: str) -> AsyncIterator[Store]:
    """A store that may not be opened yet."""
    store = store_at(existing(url), f"{loaded.namespace}.{loaded.name}")
    try:
        yield store
    finally:
        await store.close()


def _told(loaded: App, done: Upgraded, version: int) -> Iterator[str]:
    if done.found == version:
        yield f"saga store: has schema version {version} already"
    elif done.found == 0:
        yield f"saga store: is empty, and has schema version {version} now"
    else:
        yield f"saga store: {done.records} sagas brought from schema version {done.found} to {version}"
    for name, count in done.others.items():
        whose = f"application {name} in another namespace" if name == loaded.name else f"application {name}"
        yield f"saga store: {count} sagas of {whose} wait for its own: choros schema upgrade"

"""`choros schema`: the layout of stores and databases, and the way up from that of an older choros."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import typer

from choros.app.app import App
from choros.cli.options import AppName, DatabaseUrl, Output, loaded_apart, run_until_done
from choros.cli.output import remark, tell_rows
from choros.cli.progress import waiting
from choros.cli.verbs import Verbs
from choros.cli.words import lasting
from choros.roles.addresses import DEFAULT_DATABASE, DEFAULT_STORE, database_of, store_at, tables_of
from choros.runtime.subscriber.inbox import carried_over
from choros.store.barrier import Database
from choros.store.sagas import Store
from choros.store.schema import Upgraded

Closable = TypeVar("Closable", Store, Database)
app = Verbs(help="How stores and databases are laid out; bring them up to this choros.")
LastingStoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar=["CHOROS_STORE", "REDIS_URL"],
        help="sqlite:///file, redis://... or postgresql://...",
    ),
]


@app.command(examples=["schema show shop --store redis://127.0.0.1/0"])
def show(
    application: AppName, store: LastingStoreUrl = "", database: DatabaseUrl = "", output: Output = "table"
) -> None:
    """Say which schema version the saga store and the services' databases have. Without options: the default ones."""
    loaded = loaded_apart(application)
    rows = run_until_done(_versions(loaded, *_addresses(store, database)))
    if output != "table":
        tell_rows(rows, (), output, none="nothing is there")
    for row in rows if output == "table" else ():
        print(f"{row['what']}: {_version(row['schema_version'])}")


@app.command("print", needs_app=False, examples=["schema print postgresql --for store --schema sagas"])
def print_(
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="postgresql")],
    its: Annotated[
        str,
        typer.Option("--for", metavar="WHAT", help="store; barrier, of a service's own database; outbox, of starts"),
    ] = "store",
    schema: Annotated[
        str, typer.Option("--schema", metavar="NAME", help="in which of the database; in addresses ?schema=NAME")
    ] = "",
) -> None:
    """Print the statements that create the tables, for services that may not create any themselves."""
    print(tables_of(database, its, schema), end="")


async def _versions(loaded: App, store: str, database: str) -> list[dict[str, Any]]:
    async with aclosing(_stores(loaded, store)) as there:
        stores = [(part.what, await found.schema_version()) async for part, found in there]
    async with aclosing(_databases(loaded, database)) as those:
        databases = [(f"database of {name}", await its.schema_version()) async for name, its in those]
    return [{"what": what, "schema_version": version} for what, version in (*stores, *databases)]


def _version(number: int) -> str:
    return f"schema version {number}" if number else "empty"


@app.command(examples=["schema upgrade shop"])
def upgrade(application: AppName, store: LastingStoreUrl = "", database: DatabaseUrl = "") -> None:
    """Bring what an older choros has stored to this one's schema. First stop every process that uses it.

    It may be repeated: what is done is passed over. Applications that share a file are upgraded one by one."""
    loaded = loaded_apart(application)
    run_until_done(_upgrade(loaded, *_addresses(store, database)))


async def _upgrade(loaded: App, store: str, database: str) -> None:
    async with aclosing(_stores(loaded, store)) as stores:
        async for part, found in stores:
            async with waiting(f"bringing up the {part.what}"):
                done = await found.upgrade()
            print("\n".join(_told(loaded, part, done, await found.schema_version())))
    async with aclosing(_databases(loaded, database)) as databases:
        async for name, its in databases:
            before = await its.schema_version()
            async with waiting(f"bringing up the database of {name}"):
                rows = await its.upgrade(partial(carried_over, name))
            print(f"database of {name}: {_became(before, await its.schema_version(), rows, 'rows')}")


def _told(loaded: App, part: _StoreScope, done: Upgraded, version: int) -> Iterator[str]:
    yield f"{part.what}: {_became(done.found, version, done.records, part.records)}"
    for name, count in done.others.items() if part.scope == loaded.scope else ():
        whose = f"{name} in another namespace" if name == loaded.name else name
        yield f"saga store: {count} sagas of application {whose} wait for an upgrade of their own"


def _became(before: int, now: int, count: int, what: str) -> str:
    if before == now:
        return f"has schema version {now} already"
    return f"{count} {what} brought from schema version {before} to {now}" if before else f"empty, schema version {now}"


# --- what there is ----------------------------------------------------------------------------------------------------


def _addresses(store: str, database: str) -> tuple[str, str]:
    """Where neither is given, both are where a role without options has them."""
    return (store, database) if store or database else (DEFAULT_STORE, DEFAULT_DATABASE)


class _StoreScope(NamedTuple):
    """What an application keeps in its store under a scope of its own."""

    what: str
    records: str
    scope: str


def _parts(loaded: App) -> Iterator[_StoreScope]:
    """Its sagas; and what is apart from them, where it declares that."""
    yield _StoreScope("saga store", "sagas", loaded.scope)
    if loaded.schedules:
        yield _StoreScope("store of schedules", "schedules", loaded.schedule_scope)
    if loaded.locks:
        yield _StoreScope("store of locks", "records", loaded.lock_scope)
    if loaded.awaited:
        yield _StoreScope("store of awaited facts", "facts", loaded.facts_scope)


async def _stores(loaded: App, url: str) -> AsyncGenerator[tuple[_StoreScope, Store], None]:
    """Each part of the store, unless none is asked for. It may not be opened yet."""
    for part in _parts(loaded) if url and _is_there("saga store", url) else ():
        async with _closing(store_at(url, part.scope)) as store:
            yield part, store


@asynccontextmanager
async def _closing(one: Closable) -> AsyncIterator[Closable]:
    try:
        yield one
    finally:
        await one.close()


async def _databases(loaded: App, url: str) -> AsyncGenerator[tuple[str, Database], None]:
    for service in loaded.services.values() if url else ():
        its = url.replace("{service}", service.name)
        if (service.handlers or service.reactions) and (
            service.database is not None or _is_there(f"database of {service.name}", its)
        ):
            async with _closing(database_of(loaded, service, url)) as database:
                yield service.name, database


def _is_there(what: str, url: str) -> bool:
    """Whether there is anything to look at; a look must not make a file."""
    path = unquote(urlsplit(lasting(url)).path[1:])
    missing = url.startswith(("sqlite:///", "sqlite+aiosqlite:///")) and not os.path.exists(path)
    if missing:
        remark(f"{what}: there is none at {path}")
    return not missing

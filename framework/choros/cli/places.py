"""Where an application's stores and databases are, where there is one for each of several names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from choros.app.app import App
from choros.app.service import Service
from choros.cli.words import existing
from choros.errors import UsageError
from choros.names import is_name
from choros.roles.addresses import database_of
from choros.store.barrier import Database

DatabaseUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar=["CHOROS_DATABASE"],
        help="services' databases; {service} stands for the name. SERVICE=URL: that one's. May be repeated",
    ),
]
StoreUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar=["CHOROS_STORE", "REDIS_URL"],
        help="saga stores: for all; APPLICATION=URL: that one's. May be repeated",
    ),
]


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses, for all and by name."""

    default: str
    named: Mapping[str, str]

    def of(self, name: str) -> str:
        """That of one."""
        return self.named.get(name, self.default)


def places(option: str, given: Sequence[str] | None, default: str) -> Places:
    """As they were typed; raises UsageError for two that are for the same."""
    known: dict[str, str] = {}
    for one in given or ():
        name, separator, url = one.partition("=")
        if not (separator and is_name(name)):
            name, url = "", one
        if name in known:
            whose = f"of {name!r}" if name else "for all"
            raise UsageError(f"{option} gives two addresses {whose}.", f"{option} NAME=URL for each by its name.")
        known[name] = url
    return Places(known.pop("", default), known)


@asynccontextmanager
async def opened_inbox(app: App, service: Service, url: str) -> AsyncIterator[Database]:
    """A service's database as it is: nothing is prepared, and no file is made."""
    if service.database is None:
        existing(url.replace("{service}", service.name), "database")
    database = database_of(app, service, url)
    try:
        await database.open()
        yield database
    finally:
        await database.close()

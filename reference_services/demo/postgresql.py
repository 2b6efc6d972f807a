"""A run in PostgreSQL throughout: a schema for each part, on a server that is given, or on one that is started here."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from choros import Addresses, ChorosError, StoreUnreachable, UsageError
from choros.cli.progress import waiting
from reference_services.sql import POSTGRESQL
from reference_services.tables import tables_at

PARTS = (
    "sagas", "payment", "inventory", "stock", "shipping", "carrier", "notifications", "mails", "analytics",
    "rejections", "order",
)  # fmt: skip
USERS = ("postgres", "nobody")
"""As whom it runs where we are root, which it refuses."""
KEPT = Path("/usr/lib/postgresql")
MAKING = ("--username=choros", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
SETTINGS = (
    "--listen_addresses=127.0.0.1", "--unix_socket_directories=", "--max_connections=300",
    "--dynamic_shared_memory_type=mmap", "--log_min_messages=warning",
)  # fmt: skip
START_SECONDS = 60.0


@asynccontextmanager
async def in_postgresql(addresses: Addresses, plugged: Iterable[str]) -> AsyncIterator[Addresses]:
    """Where everything is: on the server that the store's address names, or on one that is started for this run.
    Nothing of it is there afterwards. Raises ChorosError."""
    if addresses.store.startswith(POSTGRESQL):
        async with schemas(addresses.store, (*PARTS, *plugged)) as place:
            yield _within(place, addresses)
        return
    async with private_postgresql() as url, schemas(url, (*PARTS, *plugged)) as place:
        yield _within(place, addresses)


def _within(place: str, addresses: Addresses) -> Addresses:
    return Addresses(addresses.broker, f"{place}sagas", f"{place}{{service}}")


# --- a schema for each part -------------------------------------------------------------------------------------------


@asynccontextmanager
async def schemas(url: str, parts: Sequence[str]) -> AsyncIterator[str]:
    """Yields what an address of them begins with; the name of the part comes behind it."""
    run = f"shop_{uuid.uuid4().hex[:8]}_"
    await asyncio.to_thread(_tell, url, [f'CREATE SCHEMA "{run}{part}"' for part in parts])
    try:
        yield f"{url}{'&' if '?' in url else '?'}schema={run}"
    finally:
        await asyncio.to_thread(_tell, url, [f'DROP SCHEMA "{run}{part}" CASCADE' for part in parts])


def _tell(url: str, statements: Sequence[str]) -> None:
    with closing(tables_at(url)) as tables, tables.opened() as book:
        for statement in statements:
            book.execute(statement)


# --- a server for one run ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def private_postgresql() -> AsyncIterator[str]:
    """One on loopback, which lets in whoever knows its password; yields its address. Raises ChorosError."""
    folder = Path(tempfile.mkdtemp(prefix="choros-postgresql-"))
    try:
        async with waiting("starting a PostgreSQL"):
            url = (
                f"postgresql://choros:{await asyncio.to_thread(_make_files, folder)}@127.0.0.1:{_free_port()}/postgres"
            )
            server = _run(folder, "postgres", f"--port={urlsplit(url).port}", *SETTINGS)
        try:
            await asyncio.to_thread(_wait_for, server, url, folder)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # at once, in good order
            await asyncio.to_thread(server.wait)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_files(folder: Path) -> str:
    """What it starts from; returns the password."""
    password, secret = secrets.token_hex(16), folder / "password"
    secret.write_text(password)
    if user := _ordinary_user():
        for path in (folder, secret):
            os.chown(path, user.pw_uid, user.pw_gid)
    if _run(folder, "initdb", f"--pwfile={secret}", *MAKING).wait() != 0:
        raise _did_not_start(folder)
    return password


def _ordinary_user() -> pwd.struct_passwd | None:
    names = {user.pw_name: user for user in pwd.getpwall()}
    return next((names[name] for name in USERS if name in names), None) if os.geteuid() == 0 else None


def _run(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    user = _ordinary_user()
    whose: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C.UTF-8"}
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            [_found(program), "-D", folder / "data", *arguments], cwd="/", env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **whose,
        )  # fmt: skip


def _found(program: str) -> Path:
    """On PATH, or the newest of those that Debian keeps where no PATH looks."""
    if found := shutil.which(program):
        return Path(found)
    kept = sorted(KEPT.glob(f"*/bin/{program}"), key=lambda path: float(path.parts[-3]))
    if not kept:
        raise UsageError(
            f"PostgreSQL is not on this machine ({program} was not found).",
            "apt-get install postgresql, or --store postgresql://... for a server that runs.",
        )
    return kept[-1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_for(server: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            return _tell(url, ["SELECT 1"])
        except StoreUnreachable:
            if server.poll() is not None or time.monotonic() > give_up:
                raise _did_not_start(folder) from None
            time.sleep(0.05)


def _did_not_start(folder: Path) -> ChorosError:
    said = (folder / "server.log").read_text(errors="replace").strip().splitlines()[-1:]
    return ChorosError(f"PostgreSQL did not start: {' '.join(said)}", "--store postgresql://... for one that runs.")

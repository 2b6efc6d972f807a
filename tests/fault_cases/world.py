"""The test's side: starts and kills processes of a trip, keeps the others in this process, and reads the ledgers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from choros import App, Client, Outcome
from choros.errors import StoreUnreachable
from choros.roles.addresses import connected
from choros.roles.roles import client_of, run_together, stop_all
from choros.runtime.client.account import Account
from choros.runtime.orchestrator.history import read_history
from choros.transport.topology import topology
from tests.end_to_end.shop import remove, until
from tests.fault_cases.failpoints import Failpoint
from tests.fault_cases.process import open_part
from tests.fault_cases.trip import Plan, Trip, make_app
from tests.patience import PATIENCE
from tests.private_servers import die_with_parent

T = TypeVar("T")
COMPLETED = {"paid": 1, "packed": 1, "shipped by road 1": 1}
EVERYBODY = ("till", "packer", "van", "diary", "log-book")


class Child:
    """One process."""

    def __init__(self, trip: Trip, role: str, failpoint: str, number: int, clock: Path | None) -> None:
        self.role = role
        self.log = Path(trip.folder) / f"{role}-{number}.log"
        said = {"CHOROS_TRIP": trip.dumps(), "CHOROS_FAILPOINT": failpoint, "PYTHONPATH": os.pathsep.join(sys.path)}
        if clock is not None:
            said["CHOROS_CLOCK"] = str(clock)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fault_cases.process", role],
                env={**os.environ, **said}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def said(self, event: str) -> int:
        """How often it has logged this."""
        return sum(entry["event"] == event for entry in self.events)

    async def at_work(self) -> None:
        """Until it says that it has started."""
        await until(f"{self.role} is at work: {self.log.read_text()[-500:]}", self._started, PATIENCE)

    async def _started(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return any(entry["event"].endswith(".started") for entry in self.events)

    async def died(self) -> None:
        """Until it has been killed, and by nothing but its failpoint."""

        async def ended() -> bool:
            return self.process.poll() is not None

        await until(f"{self.role} dies", ended, PATIENCE)
        assert self.process.returncode == -signal.SIGKILL, self.log.read_text()[-3000:]

    def send(self, sign: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(sign)

    async def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait; returns its exit code."""
        self.send(sign)
        return await asyncio.to_thread(self.process.wait, 20)


class World:
    """One application under test."""

    def __init__(self, trip: Trip, app: App, client: Client) -> None:
        self.trip, self.client = trip, client
        self.children: list[Child] = []
        self._app = app

    async def spawn(self, role: str, failpoint: str = "", *, clock: Path | None = None, **changes: Any) -> Child:
        """Start a role as a process, and wait until it is at work."""
        child = Child(replace(self.trip, **changes), role, failpoint, len(self.children), clock)
        self.children.append(child)
        await child.at_work()
        return child

    @asynccontextmanager
    async def here(self, *roles: str) -> AsyncIterator[None]:
        """Run roles in this process."""
        async with AsyncExitStack() as stack:
            parts = [await open_part(self.trip, role, stack, Failpoint("")) for role in roles]
            running = asyncio.create_task(run_together(parts))
            try:
                yield
            finally:
                await stop_all(parts)
                await running

    async def start(self, trip: str, *, refuse: bool = False, saga: str = "trip") -> str:
        """Start a saga in its newest version; again while the store is away, under the same key, as callers must."""
        plan = Plan(trip=trip, refuse=refuse)
        return await patiently(lambda: self.client.start(self._app.saga(saga), plan))

    async def outcome(self, saga_id: str) -> Outcome:
        """How it ended; looked for again while the store is away."""
        return await patiently(lambda: self.client.wait(saga_id, timeout=timedelta(seconds=PATIENCE)))

    async def events(self, saga_id: str) -> Counter[str]:
        """What its history says, counted."""
        account = await self.account(saga_id)
        versions = [row.version for row in account.history]
        # Each once and in order; a commit in which nothing happened to the saga leaves no row.
        assert versions[0] == 1 and versions == sorted(set(versions)), versions
        return Counter(one.kind for row in account.history for one in read_history(row.events))

    async def account(self, saga_id: str) -> Account:
        """Everything that the store knows of it."""
        return await patiently(lambda: self.client.show(saga_id))

    async def seen(self, saga_id: str, kind: str) -> None:
        """Until its history says this."""

        async def there() -> bool:
            return (await self.events(saga_id))[kind] > 0

        await until(kind, there, PATIENCE)

    def effects(self, trip: str) -> dict[str, int]:
        """What the services' own files say of a trip."""
        return dict(_entries(self.trip, ("till.db", "van.db", "provider.db"), trip))

    def facts(self, trip: str, subscriber: str = "diary") -> list[str]:
        """What a subscriber has noted of a trip, in order."""
        return list(_rows(Path(self.trip.folder) / f"{subscriber}.db", trip))

    async def told(
        self, trip: str, subscriber: str = "diary", facts: Sequence[str] = ("TripStarted", "TripPaid")
    ) -> None:
        """Until the subscriber has noted as many facts as it should; they must be these, in order, once."""

        async def noted() -> bool:
            return len(self.facts(trip, subscriber)) >= len(facts)

        await until(f"{subscriber} is told of {trip}", noted, PATIENCE)
        assert self.facts(trip, subscriber) == list(facts)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the store is away."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ask()
            except StoreUnreachable:
                await asyncio.sleep(0.1)


def _entries(trip: Trip, files: Sequence[str], of: str) -> Counter[str]:
    return Counter(what for file in files for what in _rows(Path(trip.folder) / file, of))


def _rows(path: Path, of: str) -> list[str]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as file, suppress(sqlite3.OperationalError):
        return [str(what) for (what,) in file.execute("SELECT what FROM entry WHERE trip = ? ORDER BY rowid", (of,))]
    return []


@asynccontextmanager
async def open_world(trip: Trip) -> AsyncIterator[World]:
    """Everything is declared, and a client is there; afterwards no process and no queue is left."""
    app = make_app(trip)
    whole = topology(trip.namespace, services=app.participants, applications=[app.name], subscribers=app.subscribers)
    async with AsyncExitStack() as stack:
        async with connected(trip.addresses, app, "test") as transport:
            await transport.declare(whole)
        client = await stack.enter_async_context(client_of(app, trip.addresses))
        world = World(trip, app, client)
        try:
            yield world
        finally:
            for child in world.children:
                child.process.kill()
                child.process.wait()
            await remove(trip.broker.partition("?")[0], whole)

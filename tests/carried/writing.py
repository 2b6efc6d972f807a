"""Writes what a version of choros leaves behind: run by `tests.carried.make`, on the choros of that version."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from choros import Addresses, App, Client
from choros.roles.addresses import opened_database, opened_store
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.sagas import Store
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.wire.envelope import Envelope, Wire, encode

from . import trips
from .trips import PARTICIPANTS, SAGA, SUBSCRIBERS, Trip, app

PATIENCE = timedelta(seconds=30)


class Transport(MemoryTransport):
    """Notes what is sent, and may be deaf: then nothing is confirmed, and stays where a crash would leave it."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker, app.namespace)
        self.deaf = frozenset[str]()
        self.seen: list[Envelope] = []

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Commands and replies."""
        self.seen += messages
        return [Published.UNKNOWN] * len(messages) if "messages" in self.deaf else await super().send(messages)

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        """Facts."""
        self.seen += facts
        return [Published.UNKNOWN] * len(facts) if "facts" in self.deaf else await super().publish(facts)


class Desk:
    """One store, one database for each service, one broker."""

    def __init__(self, addresses: Addresses, store: Store, stack: AsyncExitStack) -> None:
        self.addresses, self.store, self.stack = addresses, store, stack
        self.broker = MemoryBroker()
        self.transport = Transport(self.broker)
        self.sagas: dict[str, str] = {}

    @asynccontextmanager
    async def at_work(self, *roles: str, sagas: bool = True, deaf: Sequence[str] = ()) -> AsyncIterator[Client]:
        """The orchestrator and these services, for a while."""
        async with AsyncExitStack() as stack:
            transport = self.transport
            transport.deaf = frozenset(deaf)
            orchestrator = Orchestrator(
                app if sagas else App(app.namespace, name=app.name),
                transport=transport, store=self.store, timers_every=0.02, resend_after=0.2, scan_every=0.1, drain=0.5,
            )  # fmt: skip
            parts: list[Any] = [orchestrator] if "orchestrator" in roles else []
            for service in (*PARTICIPANTS, *SUBSCRIBERS):
                if service.name in roles:
                    database = await stack.enter_async_context(opened_database(self.addresses, app, service))
                    kind: Any = Participant if service in PARTICIPANTS else Subscriber
                    parts.append(kind(service, namespace=app.namespace, transport=transport, database=database))
            await orchestrator.declare()
            tasks = [asyncio.create_task(part.run()) for part in parts]
            async with Client(app, store=self.store, transport=transport) as client:
                yield client
            for part in parts:
                if (stopping := part.stop()) is not None:
                    await stopping
            await asyncio.gather(*tasks)

    async def start(self, client: Client, who: str, status: str = "") -> str:
        """A trip, until it has this status."""
        self.sagas[who] = saga_id = await client.start(SAGA, Trip(who=who))
        await self.until(saga_id, lambda record: not status or record.status == status)
        return saga_id

    async def until(self, saga_id: str, fits: Any) -> None:
        """Once its record is so."""
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while not fits((await self.store.load([saga_id]))[saga_id].record):
                await asyncio.sleep(0.02)


EVERYBODY = ("orchestrator", "hotel", "bank", "mail", "ledger")


async def live(desk: Desk) -> None:
    """Sagas in every state that there is."""
    trips.OUT_OF_ORDER.add("parked")
    async with desk.at_work(*EVERYBODY) as client:
        await desk.start(client, "completed", "completed")
        poor = await desk.start(client, "poor", "compensated")
        desk.sagas["poor again"] = await client.rerun(poor, "reserve")
        await desk.start(client, "parked", "parked")
        await asyncio.sleep(2)  # the facts are handled
    async with desk.at_work("orchestrator", "hotel", "bank", deaf=["facts"]) as client:
        await desk.start(client, "silent", "completed")
    async with desk.at_work("hotel", "orchestrator", sagas=False, deaf=["facts"]) as client:
        aside = await desk.start(client, "set aside")
        await desk.until(aside, lambda record: record.undecided)
    async with desk.at_work(deaf=["facts"]) as client:
        await desk.start(client, "under way")
        await client.signed("ada", "wait for the bank").pause(await desk.start(client, "paused"))
        await client.signed("ada", "the trip is off").cancel(await desk.start(client, "cancelled"))
        await asyncio.sleep(0.5)  # what was decided is sent
    async with desk.at_work("hotel", deaf=["messages"]):
        await asyncio.sleep(0.5)  # what was sent is carried out, and the replies stay
    async with desk.at_work(deaf=["messages", "facts"]) as client:
        await desk.start(client, "unsent")


async def written(folder: Path, redis_url: str) -> None:
    """Everything as text files in this folder."""
    seen: list[Envelope] = []
    with tempfile.TemporaryDirectory() as files:
        seen += await lived(Addresses("", f"sqlite:///{files}/sagas.db", f"sqlite:///{files}/{{service}}.db"), folder)
        put_files(Path(files), folder)
    await lived(Addresses("", redis_url, redis_url), folder)
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        keys = [await held(client, str(key)) for key in sorted(await client.keys())]
    put(folder / "redis.json", keys, indent=None)
    kinds = {(one.kind, one.type, one.outcome): one for one in seen}
    put(folder / "messages.json", [{"stored": one.dumps(), "wire": plain(encode(one))} for one in kinds.values()])
    put(folder / "topology.json", dataclasses.asdict(app.topology))


async def lived(addresses: Addresses, folder: Path) -> list[Envelope]:
    """One life on these addresses."""
    async with AsyncExitStack() as stack:
        desk = Desk(addresses, await stack.enter_async_context(opened_store(addresses, app)), stack)
        await desk.transport.connect()
        await desk.transport.declare(app.topology)
        await live(desk)
        put(folder / "sagas.json", desk.sagas)
    return desk.transport.seen


def put_files(files: Path, folder: Path) -> None:
    """Each SQLite file as text."""
    for file in sorted(files.glob("*.db")):
        (folder / f"{file.stem}.sql").write_text(sql_of(file), encoding="utf-8")


def sql_of(file: Path) -> str:
    """The whole file as statements."""
    with closing(sqlite3.connect(file)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        return "\n".join([*connection.iterdump(), f"PRAGMA user_version = {version};", ""])


async def held(client: Any, key: str) -> dict[str, object]:
    """One key of Redis, and what it holds."""
    reading = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "set": client.smembers,
    }
    kind = await client.type(key)
    return {"key": key, "type": kind, "value": await reading[kind](key)}


def plain(wire: Wire) -> dict[str, object]:
    """A message as it was on the wire."""
    return {**{name: getattr(wire, name) for name in wire.__dataclass_fields__}, "body": wire.body.decode()}


def put(path: Path, value: object, indent: int | None = 1) -> None:
    """Into a file that a person can read and compare."""
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(written(Path(sys.argv[1]), sys.argv[2]))

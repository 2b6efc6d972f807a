"""What each landed version left behind is named, brought up to this one, and carried on to its end."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from choros.cli.schema import app as schema_command
from choros.errors import StoreMisconfigured
from choros.roles.addresses import Addresses, database_at, opened_database, opened_store, store_at
from choros.runtime.client.client import Client
from choros.runtime.subscriber.inbox import carried_over
from choros.saga.machine.instance import TERMINAL
from choros.store.barrier import SCHEMA_VERSION as BARRIER_VERSION
from choros.store.sagas import Record, Store
from choros.store.schema import SCHEMA_VERSION
from choros.wire.envelope import DO_EXPIRY, Envelope, Wire, decode, encode
from tests.carried.trips import PARTICIPANTS, SUBSCRIBERS, Trip, app
from tests.carried.writing import EVERYBODY, Desk
from tests.patience import PATIENCE
from tests.private_servers import PrivateRedis

HERE = Path(__file__).parent
VERSIONS = sorted(folder.name for folder in HERE.iterdir() if (folder / "sagas.json").exists())
WROTE = {"3bacf40": (1, 1), "9e10a05": (2, 2), "635b56d": (2, 2)}
"""The schema versions of what each left behind: of the saga store, and of the services' databases."""
NOW = SCHEMA_VERSION, BARRIER_VERSION
OUTDATED = [version for version in VERSIONS if WROTE.get(version, NOW) != NOW]
APP = "tests.carried.trips"
SERVICES = (*PARTICIPANTS, *SUBSCRIBERS)


def read(version: str, name: str) -> Any:
    return json.loads((HERE / version / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Carried:
    """One version's stores, as they were."""

    version: str
    addresses: Addresses
    effects: Callable[[], list[str]]


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def carried(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> Iterator[Carried]:
    if request.param == "sqlite":
        yield in_files(version, tmp_path)
        return
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    try:
        asyncio.run(put_into(server.url, read(version, "redis.json")))
        yield Carried(version, Addresses("", server.url, server.url), partial(effects_in, server.url))
    finally:
        server.kill()


def in_files(version: str, folder: Path) -> Carried:
    for script in (HERE / version).glob("*.sql"):
        with closing(sqlite3.connect(folder / f"{script.stem}.db")) as file:
            file.executescript(script.read_text(encoding="utf-8"))
    addresses = Addresses("", f"sqlite:///{folder}/sagas.db", f"sqlite:///{folder}/{{service}}.db")

    def effects() -> list[str]:
        found: list[str] = []
        for service in SERVICES:
            with closing(sqlite3.connect(folder / f"{service.name}.db")) as file:
                found += [f"{what} {who}" for what, who in file.execute("SELECT what, who FROM effect")]
        return found

    return Carried(version, addresses, effects)


async def put_into(url: str, keys: list[dict[str, Any]]) -> None:
    async with Redis.from_url(url) as client:
        writing: dict[str, Callable[[str, Any], Any]] = {
            "string": client.set,
            "hash": lambda key, value: client.hset(key, mapping=value),
            "list": lambda key, value: client.rpush(key, *value),
            "zset": lambda key, value: client.zadd(key, dict(value)),
        }
        for one in keys:
            await writing[one["type"]](one["key"], one["value"])


async def effects_of(url: str) -> list[str]:
    async with Redis.from_url(url, decode_responses=True) as client:
        return [str(one) for one in await client.lrange("carried:effects", 0, -1)]


def effects_in(url: str) -> list[str]:
    return asyncio.run(effects_of(url))


# --- named, and upgraded by the command -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", OUTDATED)
def test_an_outdated_store_is_named_with_the_command(carried: Carried) -> None:
    asyncio.run(refused(carried.addresses, *WROTE[carried.version]))


async def refused(addresses: Addresses, store: int, barrier: int) -> None:
    command = "stop every process .*choros schema upgrade APP --"
    if store < SCHEMA_VERSION:
        whose = f"schema version {store}; this choros needs version {SCHEMA_VERSION}"
        with pytest.raises(StoreMisconfigured, match=f"saga store .*{whose}.*{command}store "):
            async with opened_store(addresses, app):
                pass
    whose = f"schema version {barrier}; this choros needs version {BARRIER_VERSION}"
    for service in SERVICES if barrier < BARRIER_VERSION else ():
        with pytest.raises(StoreMisconfigured, match=f"barrier .*{whose}.*{command}database "):
            async with opened_database(addresses, app, service):
                pass


@pytest.mark.parametrize("version", OUTDATED)
def test_the_command_says_what_it_did_and_may_be_repeated(carried: Carried) -> None:
    where = ["--store", carried.addresses.store, "--database", carried.addresses.database]
    count, (store, barrier) = len(read(carried.version, "sagas.json")), WROTE[carried.version]
    assert said("show", *where)[0] == f"saga store: schema version {store}"
    first = said("upgrade", *where)
    assert first[0] == f"saga store: {count} sagas brought from schema version {store} to {SCHEMA_VERSION}"
    assert [line.split(":")[0] for line in first[1:]] == [f"database of {one.name}" for one in SERVICES]
    became = f"rows brought from schema version {barrier} to {BARRIER_VERSION}"
    there = f"has schema version {barrier} already"
    assert all(became in line or (barrier == BARRIER_VERSION and there in line) for line in first[1:])
    again = said("upgrade", *where)
    assert again[0].endswith(f"has schema version {SCHEMA_VERSION} already")
    assert all(line.endswith(f"has schema version {BARRIER_VERSION} already") for line in again[1:])
    assert [line.rpartition(" ")[2] for line in said("show", *where)[1:]] == [str(BARRIER_VERSION)] * len(SERVICES)


def said(verb: str, *options: str) -> list[str]:
    result = CliRunner().invoke(schema_command, [verb, APP, *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


# --- carried on -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_saga_comes_to_its_end(carried: Carried) -> None:
    sagas = read(carried.version, "sagas.json")
    asyncio.run(upgraded(carried.addresses))
    records = asyncio.run(ended(carried.addresses, sagas))
    as_they_should_end(sagas, records, Counter(carried.effects()))


def as_they_should_end(sagas: dict[str, str], records: dict[str, Record], effects: Counter[str]) -> None:
    """Each saga wholly or not at all, and whoever was told was told once."""
    tries = Counter("poor" if who.startswith("poor") else who for who in sagas)
    ends = {name: record.status for name, record in records.items()}
    assert set(ends.values()) == {"completed", "compensated"}
    for who in sagas.keys() - {"poor", "poor again"}:
        done = ends[who] == "completed"
        assert effects[f"reserve {who}"] - effects[f"release {who}"] == done, who
        assert effects[f"pay {who}"] == done, who
        assert (effects[f"TripBooked {who}"], effects[f"TripFailed {who}"]) == (done, not done), who
        assert (effects[f"congratulate {who}"], effects[f"apologize {who}"]) in ((1, not done), (0, 0)), who
    assert effects["TripFailed poor"] == tries["poor"] == effects["reserve poor"] == effects["release poor"]


async def upgraded(addresses: Addresses) -> None:
    store = store_at(addresses.store, f"{app.namespace}.{app.name}")
    await store.upgrade()
    await store.close()
    for service in SERVICES:
        url = addresses.database.replace("{service}", service.name)
        database = database_at(url, f"{app.namespace}.{service.name}")
        await database.upgrade(partial(carried_over, service.name))
        await database.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_timer_is_still_set(carried: Carried) -> None:
    asyncio.run(upgraded(carried.addresses))
    set_for, found = asyncio.run(timers(carried.addresses))
    assert found and found == set_for


async def timers(addresses: Addresses) -> tuple[list[str], list[str]]:
    """The records that have one, by time, and those that are handed out."""
    async with opened_store(addresses, app) as store:
        records = [one for one in (await store.find(limit=500)).records if one.wake_at is not None]
        known = {one.kind for one in records}
        by_time = sorted((one.wake_at, one.saga_id) for one in records)
        assert await store.next_due(known) == by_time[0][0]
        return [saga_id for _, saga_id in by_time], list(await store.due(1e12, known, 500))


async def ended(
    addresses: Addresses, sagas: dict[str, str], transport: Any = None, quiet: Callable[[], Any] | None = None
) -> dict[str, Record]:
    """Everybody is at work until all have ended and nothing is left to be sent."""
    async with AsyncExitStack() as stack:
        desk = Desk(addresses, await stack.enter_async_context(opened_store(addresses, app)), stack)
        desk.transport = transport or desk.transport
        await desk.transport.connect()
        stack.push_async_callback(desk.transport.close)
        await desk.transport.declare(app.topology)
        async with desk.at_work(*EVERYBODY) as client, asyncio.timeout(PATIENCE):
            await client.resume(sagas["paused"])
            await client.retry(sagas["parked"], "pay")
            await started_again(client, desk.store, sagas)
            while not await finished(desk, sagas):
                await asyncio.sleep(0.05)
            await (quiet() if quiet else asyncio.sleep(0.5))  # the last facts are handled
        loaded = await desk.store.load(list(sagas.values()))
    return {name: loaded[saga_id].record for name, saga_id in sagas.items()}


async def started_again(client: Client, store: Store, sagas: dict[str, str]) -> None:
    """The same message under the same key is the same saga, whichever version made its digest."""
    for one in (await store.load(list(sagas.values()))).values():
        trip = Trip.from_json(json.loads(one.record.state)["start"])
        saga = app.sagas[one.record.saga, one.record.saga_version]
        assert await client.start(saga, trip, key=one.record.key) in sagas.values()


async def finished(desk: Desk, sagas: dict[str, str]) -> bool:
    """Whether all have ended, and every fact has left."""
    loaded = await desk.store.load(list(sagas.values()))
    facts = await desk.store.unsent("facts", desk.store.now() + 60, 10)
    return all(one.record.status in TERMINAL for one in loaded.values()) and not facts


# --- messages and queues ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_message_is_read_as_it_was_meant(version: str) -> None:
    messages = read(version, "messages.json")
    assert {Envelope.loads(one["stored"]).kind for one in messages} == {"command", "reply", "fact"}
    for one in messages:
        stored = Envelope.loads(one["stored"])
        wire = Wire(**{**one["wire"], "body": one["wire"]["body"].encode()})
        read_back = decode(wire)
        assert encode(read_back) == encode(stored) == now_written(wire)


def now_written(wire: Wire) -> Wire:
    """An undo and a close had `expirytime`, by which others may drop what must not be dropped."""
    headers = dict(wire.headers)
    if "cloudEvents_expirytime" in headers and not headers["cloudEvents_idempotencykey"].endswith(":do"):
        headers[f"cloudEvents_{DO_EXPIRY}"] = headers.pop("cloudEvents_expirytime")
    return replace(wire, headers=headers)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_declared_on_the_broker_may_be_declared_again(version: str) -> None:
    """A queue that is there with other arguments is refused by RabbitMQ: then no new process could start."""
    before, now = read(version, "topology.json"), json.loads(json.dumps(asdict(app.topology)))
    for what in ("exchanges", "queues"):
        new = {one["name"]: one for one in now[what]}
        assert [new.get(one["name"], one) for one in before[what]] == before[what]

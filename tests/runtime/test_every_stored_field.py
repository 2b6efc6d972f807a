"""Every field that a store keeps, with something in it that no choros has written: the others go on, and it stays."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from choros.desk.republish import released
from choros.errors import StoreMisconfigured
from choros.runtime.orchestrator.history import UNREADABLE, read_history
from choros.saga.machine.instance import Instance, Leg, NodeState
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from choros.transport.memory import MemoryBroker
from choros.transport.topology import Names
from tests.runtime.parcel import APP, at_work, begun, ended, until

WELL = ["well-1", "well-2"]
JUNK: tuple[object, ...] = ("x", b"\xff", -1)
HASH = ("version", "transition", "state", "kind", "group", "clock")
IDENTITY = {"scope", "saga_id", "number"}
REPLIES = Names("shop").reply_queue(APP.name)


def columns(path: Path) -> Iterator[tuple[str, str, object]]:
    """Every column of the file that may hold something else, with what it shall hold."""
    with closing(sqlite3.connect(path)) as file:
        for table in ("record", "outbox", "history"):
            for row in file.execute(f"PRAGMA table_info({table})").fetchall():
                yield from ((table, row[1], junk) for junk in JUNK if row[1] not in IDENTITY)


def write(path: Path, saga_id: str, table: str, column: str, junk: object) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        assert file.execute(f"UPDATE {table} SET {column} = ? WHERE saga_id = ?", (junk, saga_id)).rowcount


def rows_of(path: Path, saga_id: str) -> list[object]:
    """The record; when its timer counts as due, which whoever has claimed it may put off, is none of it."""
    with closing(sqlite3.connect(path)) as file:
        file.row_factory = sqlite3.Row
        found = file.execute("SELECT * FROM record WHERE saga_id = ?", (saga_id,)).fetchall()
    named = (zip(row.keys(), row, strict=True) for row in found)
    return [{name: value for name, value in row if name != "due_at"} for row in named]


async def all_go_on(store: Store, broker: MemoryBroker, well: Sequence[str], sick: Sequence[str]) -> list[str]:
    """Those that are well end; returns those of the others whose record nobody can read any more."""
    async with at_work(store, broker) as (client, orchestrator):
        await ended(client, well)
        loaded = await store.load(sick)
        assert set(loaded) == set(sick)
        unread = [saga_id for saga_id, one in loaded.items() if one.record.unreadable]
        await until(lambda: orchestrator.decider.unreadable >= len(unread))
        await until(lambda: parked(broker) >= set(unread))
        for saga_id in unread:
            with pytest.raises(StoreMisconfigured, match="cannot be read"):
                await client.cancel(saga_id)
    facts = [fact.subject async for some in released(store, 0.0) for fact in some]
    assert set(WELL) <= set(facts)
    assert {record.saga_id for record in (await store.find(limit=1000)).records} >= set(well)
    assert sum((await store.counts()).values()) >= len([*well, *sick])
    kinds = {event.kind for one in sick for row in await store.history(one) for event in read_history(row.events)}
    assert {"sent", UNREADABLE} <= kinds
    return unread


def parked(broker: MemoryBroker) -> set[str | None]:
    """Whose replies are kept with a reason."""
    return {wire.correlation_id for wire in broker.waiting(Names("shop").dead_queue(REPLIES))}


async def test_whatever_a_column_holds_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "sagas.db"
    store, broker = SqliteStore(path, "shop.shop"), MemoryBroker()
    await store.open()
    well = await begun(store, WELL)
    changes = list(columns(path))
    sick = await begun(store, [f"{table}.{column}.{junk!r}" for table, column, junk in changes])
    for saga_id, change in zip(sick, changes, strict=True):
        write(path, saga_id, *change)
    before = {saga_id: rows_of(path, saga_id) for saga_id in sick}
    unread = await all_go_on(store, broker, well, sick)
    await store.close()
    assert len(unread) > len(JUNK)
    assert all(rows_of(path, saga_id) == before[saga_id] for saga_id in unread)


def junk_at(number: int) -> Callable[[list[object]], object]:
    return lambda head: [*head[:number], {"junk": 1}, *head[number + 1 :]]


HEAD: dict[str, Callable[[list[object]], object]] = {
    "lacks one": lambda head: head[1:],
    "has one more": lambda head: [*head, "newer"],
    "is no list": lambda head: {"head": head},
    **{f"has junk at {number}": junk_at(number) for number in range(12)},
}


async def test_whatever_a_hash_holds_the_others_go_on(redis_url: str, namespace: str, redis_client: Any) -> None:
    store, broker = RedisStore(redis_url, namespace), MemoryBroker()
    await store.open()
    well = await begun(store, WELL)
    sick = await begun(store, [*HEAD, *(f"junk in {one}" for one in HASH)])
    keys = [f"{{{namespace}}}:saga:{saga_id}" for saga_id in sick]
    for key, spoil in zip(keys, HEAD.values(), strict=False):
        head = json.loads(await redis_client.hget(key, "head"))
        await redis_client.hset(key, "head", json.dumps(spoil(head)))
    for key, field in zip(keys[len(HEAD) :], HASH, strict=True):
        await redis_client.hset(key, field, "junk")
    for saga_id in sick[:3]:
        await redis_client.rpush(f"{{{namespace}}}:history:{saga_id}", "junk", "2 x []")
    before = [await redis_client.hgetall(key) for key in keys]
    unread = await all_go_on(store, broker, well, sick)
    await store.close()
    assert set(sick[: len(HEAD)]) <= set(unread)
    left = [await redis_client.hgetall(key) for key in keys]
    assert [new for one, new in zip(sick, left, strict=True) if one in unread] == [
        old for one, old in zip(sick, before, strict=True) if one in unread
    ]


# --- the state of an instance -----------------------------------------------------------------------------------------


def of_step(state: dict[str, Any]) -> dict[str, Any]:
    return next(node for node in state["nodes"].values() if node.get("leg"))


PLACES: dict[str, tuple[type, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "instance": (Instance, lambda state: state),
    "step": (NodeState, of_step),
    "leg": (Leg, lambda state: of_step(state)["leg"]),
}


def spoilt_states(state: str) -> Iterator[str]:
    """Every field of an instance with another type, each that is needed missing, and a newer one beside them."""
    for kind, place in PLACES.values():
        names = [field.name for field in dataclasses.fields(kind)]
        missing = dataclasses.MISSING
        needed = [one.name for one in dataclasses.fields(kind) if one.default is one.default_factory is missing]
        for name in [*names, "newer"]:
            spoilt = json.loads(state)
            place(spoilt)[name] = {"junk": 1}
            yield json.dumps(spoilt)
        for name in needed:
            spoilt = json.loads(state)
            del place(spoilt)[name]
            yield json.dumps(spoilt)


async def test_whatever_a_state_holds_its_replies_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "sagas.db"
    store, broker = SqliteStore(path, "shop.shop"), MemoryBroker()
    await store.open()
    well = await begun(store, WELL)
    whole = (await store.load(well))[well[0]].record.state
    states = list(spoilt_states(whole))
    newer = json.dumps(['{"id":"r1","newer":1}'])
    sick = await begun(store, [f"sick-{number}" for number in range(len(states) + 1)])
    for saga_id, state in zip(sick, states, strict=False):
        with pytest.raises(ValueError, match=r"."):
            Instance.loads(state)
        write(path, saga_id, "record", "state", state)
    write(path, sick[-1], "record", "undecided", newer)
    async with at_work(store, broker) as (client, _):
        await ended(client, well)
        async with asyncio.timeout(30):
            while not all(len(one.record.received) > 1 for one in (await store.load(sick)).values()):
                await asyncio.sleep(0.02)
    records = [(await store.load(sick))[saga_id].record for saga_id in sick]
    await store.close()
    assert [record.state for record in records[:-1]] == states
    assert [len(record.undecided) for record in records] == [1] * len(states) + [2]
    assert records[-1].undecided[0] == json.loads(newer)[0]
    assert not parked(broker)

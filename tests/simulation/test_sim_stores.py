"""Store and database of the simulated world: the same promises as the real ones, and faults that do what they say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from choros.errors import StoreUnreachable
from choros.store.barrier import Database, NotDone, Ok, Transaction, value_of
from choros.store.sagas import Committed, Store
from choros.testing.conformance.barrier import BarrierConformance
from choros.testing.conformance.records import AnotherStore, creation
from choros.testing.conformance.store import StoreConformance
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.loop import SimLoop
from choros_verify.simulation.processes import Process, ProcessClock, context_of
from choros_verify.simulation.stores import SimDatabase, SimStore, SimTransaction


class TestSimStore(StoreConformance):
    @pytest.fixture
    async def another(self) -> AnotherStore:
        first = SimStore(Faults())

        async def open_one(namespace: str = "green") -> SimStore:
            store = SimStore(Faults(), first, namespace=namespace)
            await store.open()
            return store

        return open_one

    @pytest.fixture
    async def store(self, another: AnotherStore) -> Store:
        return await another()


class TestSimDatabase(BarrierConformance):
    @pytest.fixture
    async def another(self) -> Callable[..., Awaitable[SimDatabase]]:
        first = SimDatabase(Faults())

        async def open_one(namespace: str = "choros") -> SimDatabase:
            database = SimDatabase(Faults(), first, namespace=namespace)
            await database.open()
            return database

        return open_one

    @pytest.fixture
    async def database(self, another: Callable[..., Awaitable[SimDatabase]]) -> SimDatabase:
        return await another()

    async def lose(self, tx: SimTransaction) -> None:
        tx.standing.lose(StoreUnreachable("It is away."))
        await tx.get("any")

    async def add(self, tx: SimTransaction, amount: int) -> None:
        await tx.put("total", await tx.get("total", 0) + amount)

    async def total(self, database: Database) -> int:
        assert isinstance(database, SimDatabase)
        return int(database.items.get("total", 0))


# --- faults -----------------------------------------------------------------------------------------------------------


async def opened_store(*faults: Fault) -> SimStore:
    store = SimStore(Faults(faults))
    await store.open()
    return store


async def test_a_store_that_refuses_has_done_nothing() -> None:
    store = await opened_store(Fault("refuse", "store", 1))
    with pytest.raises(StoreUnreachable):
        await store.commit([creation("s1")])
    assert not await store.load(["s1"])
    assert list(await store.commit([creation("s1")])) == [Committed.OK]


async def test_an_unknown_result_is_there_all_the_same() -> None:
    store = await opened_store(Fault("unknown", "store", 1))
    with pytest.raises(StoreUnreachable):
        await store.commit([creation("s1")])
    assert set(await store.load(["s1"])) == {"s1"}


async def test_a_store_that_loses_forgets_the_last_commits_and_no_others() -> None:
    store = await opened_store(Fault("lose", "store", 4, 2))
    for number in range(1, 5):
        assert list(await store.commit([creation(f"s{number}")])) == [Committed.OK]
    assert set(await store.load(["s1", "s2", "s3", "s4"])) == {"s1", "s2"}


async def writing(tx: Transaction) -> str:
    assert isinstance(tx, SimTransaction)
    await tx.put("total", 1)
    return "done"


async def test_a_database_that_refuses_keeps_nothing_of_the_transaction() -> None:
    database = SimDatabase(Faults([Fault("refuse", "database", 1)]))
    await database.open()
    assert [type(result) for result in await database.run([writing])] == [NotDone]
    assert database.items == {}
    assert list(await database.run([writing])) == [Ok("done")]


async def test_a_database_with_an_unknown_result_keeps_it() -> None:
    database = SimDatabase(Faults([Fault("unknown", "database", 1)]))
    await database.open()
    assert [type(result) for result in await database.run([writing])] == [NotDone]
    assert database.items == {"total": 1}


# --- crashes ----------------------------------------------------------------------------------------------------------


def begin(loop: SimLoop, name: str, coroutine: Coroutine[Any, Any, None]) -> Process:
    process = Process(name)
    loop.create_task(coroutine, context=context_of(process, ProcessClock(loop.time, random.Random(2), lambda: 0.0)))
    return process


def crash_while(stalled: Fault | None) -> tuple[dict[Any, Any], list[str]]:
    """A process crashes five seconds into its transaction, while another waits to write."""
    loop = SimLoop(random.Random(1))
    database, seen = SimDatabase(Faults([stalled] if stalled else [])), list[str]()

    async def slow(tx: Transaction) -> None:
        assert isinstance(tx, SimTransaction)
        await tx.put("half", 1)
        await asyncio.sleep(0 if stalled else 100)

    async def victim() -> None:
        await database.open()
        await database.run([slow])

    async def other() -> None:
        await asyncio.sleep(1)
        seen.append(value_of(*await database.run([writing])))

    process = begin(loop, "victim", victim())
    begin(loop, "other", other())

    def crash() -> None:
        loop.kill(process)
        database.crashed(process)

    loop.call_later(5, crash)
    loop.run(lambda: bool(seen), 500)
    loop.end()
    return database.items, seen


def test_a_crash_in_a_transaction_leaves_nothing_of_it_and_no_lock() -> None:
    assert crash_while(None) == ({"total": 1}, ["done"])


def test_a_crash_after_the_commit_leaves_all_of_it_and_no_lock() -> None:
    assert crash_while(Fault("stall", "database", 1, 100)) == ({"half": 1, "total": 1}, ["done"])

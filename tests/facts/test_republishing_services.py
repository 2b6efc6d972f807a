"""Facts that services have published, out of their own databases: seen where they are missed, and put out again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from choros import Addresses
from choros.cli.published import publishers_of
from choros.desk import republish as republishing
from choros.desk.republish import published
from choros.errors import UsageError
from choros.roles.addresses import connected, database_of
from choros.roles.roles import open_role, publisher_of, run_together, stop_all
from choros.runtime.host.outbox_rows import OutboxRows, marked
from choros.runtime.subscriber.inbox import not_handled
from choros.store.barrier import LEAVING, Database, Row, Transaction, value_of
from choros.store.memory.barrier import MemoryDatabase
from choros.wire.envelope import Envelope
from tests.cli.test_cli import Choros, choros
from tests.desk import flow_app
from tests.desk.flow_app import Charged, Placed
from tests.end_to_end.shop import until
from tests.facts.newsroom import app as newsroom
from tests.facts.stage import moved

__all__ = ["choros"]  # the fixture

FLOW = "tests.desk.flow_app"
DATABASE = ("--database", "sqlite:///{service}.db")


@pytest.fixture
async def database() -> AsyncIterator[MemoryDatabase]:
    database = MemoryDatabase()
    await database.open()
    yield database
    await database.close()


async def put(database: Database, *orders: str, service: str = "payment", at: float = 100.0) -> None:
    """Publish one for each, into streams of their own."""

    async def write(transaction: Transaction) -> None:
        moments = itertools.count(at)
        for order in orders:
            rows = OutboxRows("flow", service, moved(1, order[:2]), transaction, moments.__next__)
            await rows.fact(Charged(order=order))

    value_of((await database.run([write]))[0])


async def leave(database: Database) -> None:
    """All of it is with a broker."""
    rows = [row for state in LEAVING for row in await database.listed(state, 99)]

    async def mark(transaction: Transaction) -> None:
        for row in rows:
            await transaction.write_row(marked(row))

    value_of((await database.run([mark]))[0])


async def orders_since(database: Database, since: float) -> list[str]:
    pages = [page async for page in published(database, "payment", since)]
    return [Charged.from_json(one.data).order for page in pages for one in page]


async def test_what_has_left_comes_out_from_a_moment_on_as_it_went(
    database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(republishing, "PAGE", 2)
    await put(database, "o1a", "o2a", "o1b", "o1c", "o2b")
    await put(database, "others", service="paymen")
    torn = Row(key="out\x1fpayment\x1ffact\x1fo3\x1f1", state="left", content="{", began=100.5, since=100.5)
    signal = Envelope(id="s", kind="signal", type="t", source="/flow/payment", time=1.0, data="{}", saga="trip")
    said = Row(key="out\x1fpayment\x1fsignal\x1fs", state="left", content=signal.dumps(), began=101.0, since=101.0)

    async def write(transaction: Transaction) -> None:
        await transaction.write_row(torn)
        await transaction.write_row(said)

    value_of((await database.run([write]))[0])
    assert await orders_since(database, 0.0) == [], "what has not left leaves by itself"
    await leave(database)
    await put(database, "o1d", at=200.0)
    assert await orders_since(database, 0.0) == ["o1a", "o2a", "o1b", "o1c", "o2b"]
    assert await orders_since(database, 102.0) == ["o1b", "o1c", "o2b"]


def test_whose_facts_are_meant() -> None:
    every = publishers_of(flow_app.app, None, "")
    assert (every.sagas, [one.name for one in every.services]) == (False, ["payment", "inventory", "shipping"])
    assert every.streams == "stream"
    assert [one.name for one in publishers_of(flow_app.app, ["payment"], "").services] == ["payment"]
    of_sagas = publishers_of(newsroom, None, "")
    assert (of_sagas.sagas, of_sagas.services, of_sagas.streams) == (True, (), "saga")
    assert publishers_of(newsroom, ["sagas"], "trip") == of_sagas
    with pytest.raises(UsageError, match="'paymemt' publishes no facts"):
        publishers_of(flow_app.app, ["paymemt"], "")
    with pytest.raises(UsageError, match="'sagas' publishes no facts"):
        publishers_of(flow_app.app, ["sagas"], "")
    with pytest.raises(UsageError, match="no service's"):
        publishers_of(flow_app.app, ["payment"], "trip")


async def work(addresses: Addresses, *services: str, order: str = "", handled: str = "") -> None:
    """Have these services at work: until payment has published about an order, or inventory has handled what is due."""
    app = flow_app.app
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "test"))
        await transport.declare(app.topology)
        parts = [p for one in services for p in await open_role(app, f"subscriber:{one}", addresses, stack)]
        loops = asyncio.create_task(run_together(parts))
        if order:
            till = await stack.enter_async_context(publisher_of(app, "till", addresses))
            await till.publish(Placed(order=order), key=order)
        await until("payment's fact has left", lambda: charged(addresses, order or handled))
        if handled:
            await until("inventory has handled it", lambda: heard(addresses, handled))
        await stop_all(parts)
        await loops


async def charged(addresses: Addresses, order: str) -> list[Envelope]:
    database = database_of(flow_app.app, flow_app.payment, addresses.database)
    await database.open()
    try:
        pages = [page async for page in published(database, "payment", 0.0)]
        return [one for page in pages for one in page if Charged.from_json(one.data).order == order]
    finally:
        await database.close()


async def heard(addresses: Addresses, order: str) -> bool:
    facts = await charged(addresses, order)
    database = database_of(flow_app.app, flow_app.inventory, addresses.database)
    await database.open()
    try:
        return bool(facts) and not await not_handled(database, "inventory", facts)
    finally:
        await database.close()


async def prepared() -> None:
    """The databases as they are after a first start."""
    for service in flow_app.app.services.values():
        database = database_of(flow_app.app, service, DATABASE[1])
        await database.open()
        await database.close()


def test_after_an_emptied_broker_services_facts_come_again(choros: Choros) -> None:
    """Rule 20, for facts of services; the application has no saga, and needs no store."""
    before, after = (Addresses(f"memory://services-{when}", database=DATABASE[1]) for when in ("before", "after"))
    asyncio.run(prepared())
    asyncio.run(work(before, "payment", order="o1"))

    missed = ("facts", "missed", FLOW, "--since", "1h", *DATABASE)
    said = choros(*missed)
    assert "inventory  flow.charged.v1  " in said.out
    assert "inventory: 1 missed of 1 fact" in said.out.splitlines()
    assert "mails: 0 missed of 0 facts" in said.out.splitlines()
    assert (said.code, said.err) == (1, "")

    again = ("facts", "republish", FLOW, "--since", "1h", "--broker", after.broker, *DATABASE)
    assert "1 fact of 1 stream were released since" in choros(*again, "--dry-run").out
    assert "0 facts of 0 streams" in choros(*again, "--of", "shipping", "--dry-run").out
    asyncio.run(declared(after))
    said = choros(*again)
    assert (said.code, "✔ 1 fact of 1 stream put out again" in said.out, said.err) == (0, True, "")
    choros(*again)  # and once more: it does no harm
    asyncio.run(work(after, "inventory", handled="o1"))
    assert "inventory: 0 missed of 1 fact" in choros(*missed).out


async def declared(addresses: Addresses) -> None:
    async with connected(addresses, flow_app.app, "test") as transport:
        await transport.declare(flow_app.app.topology)


def test_a_database_that_is_not_there_stops_it_before_anything_is_put_out(choros: Choros) -> None:
    said = choros("facts", "republish", FLOW, "--since", "1h", "--broker", "memory://none", *DATABASE)
    assert (said.code, said.out) == (2, "")
    assert "There is no database 'payment.db'" in said.err

"""A program that writes its row and publishes a fact in one transaction: both, or neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from choros import (
    Addresses,
    App,
    Call,
    Choreography,
    Fact,
    FactConflict,
    Program,
    Service,
    SqliteTransaction,
    UsageError,
    WrongFact,
    blocking_publish_in,
    publish_in,
    publisher_of,
)
from choros.roles.metrics import Metrics
from choros.roles.roles import RunningRole, open_role, run_together, stop_all
from choros.runtime.client.program_outbox import fact_place
from choros.runtime.host.vitals import Vitals
from choros.store.barrier import Database, Row
from choros.store.postgres.barrier import PostgresDatabase
from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase
from tests.patience import PATIENCE
from tests.runtime.test_http_face import samples
from tests.store.conftest import opened, postgres_schema

__all__ = ["opened", "postgres_schema"]


class Rated(Fact):
    trip: str
    stars: int


class Counted(Fact):
    trip: str


class Missed(Fact):
    trip: str


class Begun(Fact):
    trip: str


heard: list[tuple[str, int, str]] = []
mails, desk = Service("mails", ordered=True), Service("desk")


@mails.on(Rated)
async def tell(fact: Rated, call: Call) -> None:
    heard.append((fact.trip, fact.stars, call.headers.get("tenant", "")))


@desk.on(Begun, publishes=(Counted, Missed))
async def count(fact: Begun, db: SqliteTransaction) -> Counted | Missed:
    return Counted(trip=fact.trip)


def travel() -> App:
    return App("travel", services=[mails], programs=[Program("ratings", publishes=Rated)])


class Site:
    """A program with a database of its own, and who sends and who hears."""

    def __init__(self, app: App, engine: AsyncEngine, rows: Database, addresses: Addresses) -> None:
        self.app, self.engine, self.rows, self.addresses = app, engine, rows, addresses
        self.last_left: float | None = None

    async def rate(self, trip: str, *stars: int, fails: bool = False, tenant: str = "") -> None:
        headers = {"tenant": tenant} if tenant else {}
        async with AsyncSession(self.engine) as session, session.begin():
            await session.execute(text("INSERT INTO rating VALUES (:trip)"), {"trip": trip})
            for seq, one in enumerate(stars, 1):
                fact = Rated(trip=trip, stars=one)
                await publish_in(session, self.app, "ratings", fact, key=trip, seq=seq, headers=headers)
            if fails:
                raise ZeroDivisionError

    async def until_heard(self, count: int) -> Sequence[tuple[str, int, str]]:
        async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
            parts: list[RunningRole] = []
            for role in ("subscriber:mails", "program:ratings"):
                parts += await open_role(self.app, role, self.addresses, stack)
            loops = asyncio.create_task(run_together(parts))
            while len(heard) < count or await self.rows.listed("publishing", 9):
                await asyncio.sleep(0.01)
            await stop_all(parts)
            await loops
        self.last_left = parts[-1].last_delivery
        return heard


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    heard.clear()
    url, app = f"sqlite+aiosqlite:///{tmp_path}/site.db", travel()
    engine, rows = create_async_engine(url), SqlAlchemyDatabase(url, fact_place(app, "ratings"))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE rating (id TEXT)"))
    await rows.open()
    yield Site(app, engine, rows, Addresses(f"memory://{tmp_path}", "memory://", url))
    await rows.close()
    await engine.dispose()


async def test_what_is_committed_leaves_once_and_in_order(site: Site) -> None:
    await site.rate("t1", 5, 3, 4, tenant="acme")
    await site.rate("t1", 5, 3, 4, tenant="acme")  # a program that does not know whether it has
    assert await site.until_heard(3) == [("t1", 5, "acme"), ("t1", 3, "acme"), ("t1", 4, "acme")]
    assert site.last_left is not None
    await site.rate("t1", 5, 3, 4)
    await site.rate("t2", 1)
    assert (await site.until_heard(4))[3:] == [("t2", 1, "")]
    assert len(await site.rows.remembered("outbox", 0.0, "", 9)) == 4


async def test_what_is_rolled_back_never_leaves(site: Site) -> None:
    with pytest.raises(ZeroDivisionError):
        await site.rate("t1", 5, fails=True)
    await site.rate("t2", 1)
    assert await site.until_heard(1) == [("t2", 1, "")]


async def test_it_is_the_same_fact_as_the_publisher_says(site: Site) -> None:
    await site.rate("t1", 5)
    await site.until_heard(1)
    async with publisher_of(site.app, "ratings", site.addresses) as publisher:
        assert await publisher.publish(Rated(trip="t1", stars=5), key="t1")
        assert await publisher.publish(Rated(trip="t1", stars=1), key="t1", seq=2)
    assert await site.until_heard(2) == [("t1", 5, ""), ("t1", 1, "")]


async def test_another_fact_under_its_key_and_number_is_refused(site: Site) -> None:
    await site.rate("t1", 5)
    with pytest.raises(FactConflict, match="Another fact was published under the key 't1' and the number 1"):
        await site.rate("t1", 4)
    assert await site.until_heard(1) == [("t1", 5, "")]


async def test_what_is_none_of_the_program_is_refused(site: Site) -> None:
    app = App(
        "travel", services=[desk], programs=[Program("ratings", publishes=(Rated, Begun))],
        choreographies=[
            Choreography(
                "counting", start=Begun, key=lambda fact: fact.trip, good=Counted, bad=Missed, closer="desk",
                services=(desk,), standing=(count,),
            )
        ],
    )  # fmt: skip
    async with AsyncSession(site.engine) as session, session.begin():
        with pytest.raises(UsageError, match=r"no program 'rating'.*Did you mean 'ratings'"):
            await publish_in(session, site.app, "rating", Rated(trip="t1", stars=5), key="t1")
        with pytest.raises(WrongFact, match="not declared to publish Begun"):
            await publish_in(session, site.app, "ratings", Begun(trip="t1"), key="t1")
        with pytest.raises(UsageError, match="not known by the key ''"):
            await publish_in(session, site.app, "ratings", Rated(trip="t1", stars=5), key="")
        with pytest.raises(UsageError, match="begins choreography 'counting'"):
            await publish_in(session, app, "ratings", Begun(trip="t1"), key="t1")
    async with AsyncExitStack() as stack:
        with pytest.raises(UsageError, match="no program 'rating'"):
            await open_role(site.app, "program:rating", site.addresses, stack)


async def test_prometheus_is_told_for_how_long_the_oldest_waits(site: Site) -> None:
    vitals = Vitals("program:ratings")
    async with AsyncExitStack() as stack:
        vitals.receivers = await open_role(site.app, "program:ratings", site.addresses, stack, vitals)
        await site.rate("t1", 5)
        await asyncio.sleep(2)
        told = samples((await Metrics(site.app, vitals)())[1].decode())
    (age,) = [value for name, value in told.items() if name.startswith("choros_outbox_oldest_age_seconds")]
    assert 0 < age < PATIENCE


def rated_by_who_blocks(url: str) -> None:
    engine, app = create_engine(url), travel()
    with Session(engine) as session:
        blocking_publish_in(session, app, "ratings", Rated(trip="lost", stars=1), key="lost")
        session.rollback()
    with Session(engine) as session, session.begin():
        blocking_publish_in(session, app, "ratings", Rated(trip="t1", stars=5), key="t1", headers={"tenant": "acme"})
    with engine.begin() as connection, pytest.raises(FactConflict, match="Another fact"):
        blocking_publish_in(connection, app, "ratings", Rated(trip="t1", stars=4), key="t1")
    engine.dispose()


async def test_through_a_session_that_blocks_it_is_the_same(site: Site, tmp_path: Path) -> None:
    rated_by_who_blocks(f"sqlite:///{tmp_path}/site.db")
    assert await site.until_heard(1) == [("t1", 5, "acme")]


async def rows_after(url: str, *, commits: bool) -> list[Row]:
    """What asyncpg and both kinds of psycopg 3 leave there, in three transactions."""
    app = travel()
    rows = PostgresDatabase(url, fact_place(app, "ratings"), connections=1)
    await rows.open()

    async def tell(connection: object, trip: str) -> None:
        await publish_in(connection, app, "ratings", Rated(trip=trip, stars=5), key=trip)

    link = await asyncpg.connect(url)
    with pytest.raises(UsageError, match="No transaction is open"):
        await tell(link, "t1")
    transaction = link.transaction()
    await transaction.start()
    await tell(link, "t1")
    await (transaction.commit() if commits else transaction.rollback())
    await link.close()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await tell(connection, "t2")
        await tell(connection, "t2")
        await (connection.commit() if commits else connection.rollback())
        await connection.set_autocommit(True)
        with pytest.raises(UsageError, match="No transaction is open"):
            await tell(connection, "t2")

    def told_by_who_blocks() -> None:
        with psycopg.connect(url) as connection:
            blocking_publish_in(connection, app, "ratings", Rated(trip="t3", stars=5), key="t3")
            (connection.commit if commits else connection.rollback)()

    await asyncio.to_thread(told_by_who_blocks)
    found = list(await rows.listed("publishing", 9))
    await rows.close()
    return found


@pytest.mark.parametrize("commits", [True, False])
async def test_through_each_driver_of_postgresql(postgres_schema: str, commits: bool) -> None:
    keys = [row.key.split("\x1f") for row in await rows_after(postgres_schema, commits=commits)]
    assert keys == ([["out", "ratings", "fact", trip, "1"] for trip in ("t1", "t2", "t3")] if commits else [])

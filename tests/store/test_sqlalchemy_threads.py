"""A database whose driver blocks, for handlers that run in threads: the suite, and what such a handler may do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from choros.errors import Refused, StoreMisconfigured, StoreUnreachable, UsageError
from choros.store.barrier import Database, Ok, Raised, value_of
from choros.store.sqlalchemy.threaded import ThreadedSqlAlchemyDatabase, ThreadedSqlAlchemyTransaction
from choros.testing.conformance.barrier import AnotherDatabase, BarrierConformance, a_row, row_of
from tests.store.conftest import Opening, came_to

Handler = Callable[[Session], Any]


class Base(DeclarativeBase):
    pass


class Booking(Base):
    __tablename__ = "booking"
    trip: Mapped[str] = mapped_column(primary_key=True)
    room: Mapped[int]


class Suite(BarrierConformance):
    __test__ = False
    url: str

    @pytest.fixture
    async def database(self, another: AnotherDatabase) -> Database:
        return await another()

    @pytest.fixture
    def engine_of(self, tmp_path: Path) -> Callable[[], Engine]:
        return lambda: create_engine(f"sqlite:///{tmp_path / 'shop.db'}")

    @pytest.fixture
    async def another(self, opened: Opening, engine_of: Callable[[], Engine]) -> AsyncIterator[AnotherDatabase]:
        engines: list[Engine] = []

        async def prepare(tx: Any) -> None:
            statement = text("CREATE TABLE IF NOT EXISTS counter (amount INTEGER)")
            await asyncio.to_thread(tx.connection.execute, statement)

        async def another(namespace: str = "choros") -> Database:
            engines.append(engine_of())
            database: Database = await opened(ThreadedSqlAlchemyDatabase(engines[-1], namespace))
            assert list(await database.run([prepare])) == [Ok(None)]
            return database

        yield another
        for engine in engines:
            engine.dispose()

    async def add(self, tx: ThreadedSqlAlchemyTransaction, amount: int) -> None:
        await asyncio.to_thread(tx.session.execute, text("INSERT INTO counter VALUES (:amount)"), {"amount": amount})

    async def total(self, database: Database) -> int:
        async def job(tx: Any) -> Any:
            question = text("SELECT coalesce(sum(amount), 0) FROM counter")
            return await asyncio.to_thread(tx.connection.scalar, question)

        return int(value_of(*await database.run([job])))


@pytest.mark.slow
class TestOnSqlite(Suite):
    __test__ = True

    async def lose(self, tx: ThreadedSqlAlchemyTransaction) -> None:
        driver: Any = tx.connection.connection.driver_connection
        await asyncio.to_thread(tx.connection.execute, text("PRAGMA max_page_count = 1"))  # not less than there are
        try:
            await asyncio.to_thread(tx.session.execute, text("INSERT INTO counter VALUES (zeroblob(1000000))"))
        finally:
            driver.execute("PRAGMA max_page_count = 1000000")


class OnPostgreSQL(Suite):
    isolation = "READ COMMITTED"

    @pytest.fixture
    def engine_of(self, postgres_schema: str) -> Callable[[], Engine]:
        url = postgres_schema.replace("postgresql://", "postgresql+psycopg://")
        return lambda: create_engine(url, isolation_level=self.isolation)

    async def lose(self, tx: ThreadedSqlAlchemyTransaction) -> None:
        await asyncio.to_thread(tx.session.execute, text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.long
class TestOnPostgreSQL(OnPostgreSQL):
    __test__ = True


@pytest.mark.long
class TestSerializable(OnPostgreSQL):
    __test__ = True
    isolation = "SERIALIZABLE"


# --- what a handler may do --------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = f"sqlite:///{tmp_path / 'hotel.db'}"
    if request.param == "postgresql":
        address: str = request.getfixturevalue("postgres_schema")
        url = address.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def database(engine: Engine, opened: Opening) -> ThreadedSqlAlchemyDatabase:
    database: ThreadedSqlAlchemyDatabase = await opened(ThreadedSqlAlchemyDatabase(engine))
    return database


async def handled(database: ThreadedSqlAlchemyDatabase, handler: Handler) -> Any:
    """What becomes of a command with this handler, as a participant runs it: in a thread, and a refusal is kept."""

    async def job(tx: Any) -> Any:
        await tx.read_row("k1")
        await tx.write_row(a_row("k1", "running"))
        try:
            async with tx.savepoint():
                answer = await asyncio.to_thread(handler, tx.given(Session))
        except Refused as refused:
            await tx.write_row(a_row("k1", "refused", refused.code))
            return refused.code
        await tx.write_row(a_row("k1", "ok", "done"))
        return answer

    (result,) = await database.run([job])
    return came_to(result)


async def trips(database: ThreadedSqlAlchemyDatabase) -> list[str]:
    async def job(tx: Any) -> Any:
        return await asyncio.to_thread(lambda: sorted(tx.session.scalars(select(Booking.trip))))

    return list(came_to(*await database.run([job])))


def a_booking(trip: str = "delphi", room: int = 1) -> Booking:
    return Booking(trip=trip, room=room)


async def test_what_is_pending_at_the_end_is_written_with_the_row(database: ThreadedSqlAlchemyDatabase) -> None:
    def book(session: Session) -> str:
        session.add(a_booking())
        return "booked"

    assert await handled(database, book) == "booked"
    assert (await trips(database), await row_of(database, "k1")) == (["delphi"], a_row("k1", "ok", "done"))


async def test_a_refusal_takes_back_what_was_flushed_and_what_was_not(database: ThreadedSqlAlchemyDatabase) -> None:
    def book(session: Session) -> None:
        session.add(a_booking())
        assert session.scalar(select(func.count()).select_from(Booking)) == 1  # flushed by itself
        session.add(a_booking("athens"))
        raise Refused("no_room")

    assert await handled(database, book) == "no_room"
    assert (await trips(database), await row_of(database, "k1")) == ([], a_row("k1", "refused", "no_room"))


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_handler_commits_stays_with_its_command_only(
    database: ThreadedSqlAlchemyDatabase, fails: bool
) -> None:
    def book(session: Session) -> str:
        session.add(a_booking())
        session.commit()
        with suppress(IntegrityError), session.begin_nested():
            session.execute(text("INSERT INTO booking VALUES ('delphi', 2)"))
        if fails:
            raise ValueError
        return "booked"

    answer = await handled(database, book)
    assert isinstance(answer, ValueError) if fails else answer == "booked"
    assert (await trips(database), await row_of(database, "k1") is None) == ([] if fails else ["delphi"], fails)


@pytest.mark.parametrize(
    "ends",
    [
        lambda session: session.connection().commit(),
        lambda session: session.connection().rollback(),
        lambda session: session.connection().close(),
        lambda session: session.execute(text("/* now */ COMMIT")),
        lambda session: session.close(),
    ],
    ids=["commit", "rollback", "close", "says commit", "closes the session"],
)
async def test_who_ends_the_whole_transaction_has_done_nothing(
    database: ThreadedSqlAlchemyDatabase, ends: Handler
) -> None:
    def book(session: Session) -> str:
        session.add(a_booking())
        session.flush()
        ends(session)
        return "booked"

    assert isinstance(await handled(database, book), UsageError)
    assert (await trips(database), await row_of(database, "k1")) == ([], None)
    assert await handled(database, lambda session: session.flush()) is None  # and the next is well


async def test_a_session_is_of_no_use_after_its_handler(database: ThreadedSqlAlchemyDatabase) -> None:
    def leaks(session: Session) -> Session:
        session.add(a_booking())
        return session

    session = await handled(database, leaks)
    session.add(a_booking("athens"))
    with pytest.raises(Exception, match=r"closed|over"):
        session.flush()
    assert await trips(database) == ["delphi"]


async def test_who_is_cut_off_has_done_nothing_and_his_connection_is_nobody_elses_before(
    database: ThreadedSqlAlchemyDatabase,
) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    async def job(tx: Any) -> None:
        def work() -> None:
            tx.session.add(a_booking())
            tx.session.flush()
            at_work.set()
            go_on.wait()

        await tx._in_thread(work)

    running = asyncio.ensure_future(database.run([job]))
    await asyncio.to_thread(at_work.wait)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()  # it waits for the thread
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await trips(database) == []


class HotelSession(Session):
    """One of a team's own."""


async def test_sessions_may_be_of_a_class_of_your_own(database: ThreadedSqlAlchemyDatabase, opened: Opening) -> None:
    sessions = sessionmaker(class_=HotelSession, autoflush=False)
    own: ThreadedSqlAlchemyDatabase = await opened(
        ThreadedSqlAlchemyDatabase(database._opened_engine(), "own", sessions=sessions)
    )

    async def job(tx: Any) -> Any:
        return tx.given(HotelSession).autoflush, isinstance(tx.given(Connection), Connection)

    assert came_to(*await own.run([job])) == (False, True)
    (answer,) = await database.run([job])
    assert isinstance(answer, Raised)
    assert "HotelSession" in str(answer.error)


async def test_engines_that_it_cannot_be_behind_are_refused(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/hotel.db", isolation_level="AUTOCOMMIT")
    with pytest.raises(StoreMisconfigured, match="AUTOCOMMIT"):
        await ThreadedSqlAlchemyDatabase(engine).open()
    with pytest.raises(StoreMisconfigured, match="for each thread"):
        await ThreadedSqlAlchemyDatabase("sqlite://").open()
    with pytest.raises(UsageError, match="does not know this address"):
        await ThreadedSqlAlchemyDatabase("postgresql+nobody://host/name").open()


async def test_before_it_is_open_it_says_so(tmp_path: Path) -> None:
    database = ThreadedSqlAlchemyDatabase(f"sqlite:///{tmp_path}/hotel.db")
    with pytest.raises(StoreUnreachable, match="not open"):
        await database.unsent(1)

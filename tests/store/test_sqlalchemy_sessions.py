"""What a handler may do with its session, and what becomes of what it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from choros.errors import Refused, StoreMisconfigured, UsageError
from choros.store.barrier import Row
from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase
from choros.testing.conformance.barrier import a_row, row_of
from tests.store.conftest import Opening, came_to


class Base(DeclarativeBase):
    pass


class Booking(Base):
    __tablename__ = "booking"
    trip: Mapped[str] = mapped_column(primary_key=True)
    room: Mapped[int]


Handler = Callable[[Any], Awaitable[Any]]
ON = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]


@pytest.fixture(params=ON)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'hotel.db'}"
    address: str = request.getfixturevalue("postgres_schema")
    return address.replace("postgresql://", "postgresql+asyncpg://")


@pytest.fixture
async def database(url: str, opened: Opening) -> AsyncIterator[SqlAlchemyDatabase]:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield await opened(SqlAlchemyDatabase(engine))
    await engine.dispose()


async def handled(database: SqlAlchemyDatabase, handler: Handler) -> Any:
    """What becomes of a command with this handler, as a participant runs it: a refusal is kept, beside its row."""

    async def job(tx: Any) -> Any:
        await tx.read_row("k1")
        await tx.write_row(a_row("k1", "running"))
        try:
            async with tx.savepoint():
                answer = await handler(tx.given(AsyncSession))
        except Refused as refused:
            await tx.write_row(a_row("k1", "refused", refused.code))
            return refused.code
        await tx.write_row(a_row("k1", "ok", "done"))
        return answer

    (result,) = await database.run([job])
    return came_to(result)


async def trips(database: SqlAlchemyDatabase) -> list[str]:
    async def job(tx: Any) -> Any:
        return sorted(await tx.session.scalars(select(Booking.trip)))

    return list(came_to(*await database.run([job])))


async def row(database: SqlAlchemyDatabase) -> Row | None:
    return await row_of(database, "k1")


def a_booking(trip: str = "delphi", room: int = 1) -> Booking:
    return Booking(trip=trip, room=room)


async def test_what_is_pending_at_the_end_is_written_with_the_row(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> str:
        session.add(a_booking())
        return "booked"

    assert await handled(database, book) == "booked"
    assert (await trips(database), await row(database)) == (["delphi"], a_row("k1", "ok", "done"))


async def test_a_refusal_takes_back_what_was_flushed_and_what_was_not(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> None:
        session.add(a_booking())
        assert await session.scalar(select(func.count()).select_from(Booking)) == 1  # flushed by itself
        session.add(a_booking("athens"))
        raise Refused("no_room")

    assert await handled(database, book) == "no_room"
    assert (await trips(database), await row(database)) == ([], a_row("k1", "refused", "no_room"))


async def test_a_nested_transaction_takes_back_its_part(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> str:
        session.add(a_booking())
        await session.flush()
        with suppress(IntegrityError):
            async with session.begin_nested():
                session.add(a_booking("athens"))
                await session.execute(text("INSERT INTO booking VALUES ('delphi', 2)"))
        session.add(a_booking("corinth"))
        return "booked"

    assert await handled(database, book) == "booked"
    assert await trips(database) == ["corinth", "delphi"]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_handler_commits_stays_with_its_command_only(database: SqlAlchemyDatabase, fails: bool) -> None:
    async def book(session: AsyncSession) -> str:
        session.add(a_booking())
        await session.commit()
        async with session.begin():
            session.add(a_booking("athens"))
        if fails:
            raise ValueError
        return "booked"

    answer = await handled(database, book)
    assert isinstance(answer, ValueError) if fails else answer == "booked"
    assert (await trips(database), await row(database) is None) == ([] if fails else ["athens", "delphi"], fails)


async def test_what_a_handler_rolls_back_is_gone_and_what_it_does_then_stays(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> str:
        session.add(a_booking())
        await session.flush()
        await session.rollback()
        session.add(a_booking("athens"))
        return "booked"

    assert await handled(database, book) == "booked"
    assert (await trips(database), await row(database)) == (["athens"], a_row("k1", "ok", "done"))


async def test_a_session_that_is_closed_with_work_in_it_is_its_handlers_failure(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> str:
        async with session:
            session.add(a_booking())
        return "booked"

    answer = await handled(database, book)
    assert isinstance(answer, UsageError)
    assert "closed its session" in str(answer)
    assert (await trips(database), await row(database)) == ([], None)


async def test_a_session_that_is_closed_after_its_work_does_no_harm(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> str:
        async with session, session.begin():
            session.add(a_booking())
        return "booked"

    assert await handled(database, book) == "booked"
    assert await trips(database) == ["delphi"]


async def _commit(session: AsyncSession) -> None:
    await (await session.connection()).commit()


async def _roll_back(session: AsyncSession) -> None:
    await (await session.connection()).rollback()


async def _close(session: AsyncSession) -> None:
    await (await session.connection()).close()


async def _say_commit(session: AsyncSession) -> None:
    await session.execute(text("/* now */ COMMIT"))


@pytest.mark.parametrize("ends", [_commit, _roll_back, _close, _say_commit])
@pytest.mark.parametrize("goes_on", [True, False])
async def test_who_ends_the_whole_transaction_has_done_nothing(
    database: SqlAlchemyDatabase, ends: Handler, goes_on: bool
) -> None:
    async def book(session: AsyncSession) -> str:
        session.add(a_booking())
        await session.flush()
        with suppress(*([Exception] if goes_on and ends is not _say_commit else [])):
            await ends(session)
        return "booked"

    assert isinstance(await handled(database, book), UsageError)
    assert (await trips(database), await row(database)) == ([], None)
    assert await handled(database, lambda session: session.flush()) is None  # and the next is well


async def test_who_goes_on_after_a_failed_statement_is_told_so(database: SqlAlchemyDatabase, url: str) -> None:
    """To PostgreSQL nothing stands any more; to SQLite all but that statement."""

    async def book(session: AsyncSession) -> str:
        await session.execute(text("INSERT INTO booking VALUES ('delphi', 1)"))
        with suppress(IntegrityError):
            await session.execute(text("INSERT INTO booking VALUES ('delphi', 2)"))
        return "booked"

    answer = await handled(database, book)
    if url.startswith("sqlite"):
        assert (answer, await trips(database)) == ("booked", ["delphi"])
        return
    assert isinstance(answer, UsageError)
    assert "outside of a savepoint" in str(answer)
    assert (await trips(database), await row(database)) == ([], None)


async def test_who_refuses_after_a_failed_statement_has_refused(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> None:
        session.add_all([a_booking(), a_booking("athens")])
        await session.flush()
        try:
            await session.execute(text("INSERT INTO booking VALUES ('delphi', 2)"))
        except IntegrityError:
            raise Refused("no_room") from None

    assert await handled(database, book) == "no_room"
    assert (await trips(database), await row(database)) == ([], a_row("k1", "refused", "no_room"))


async def test_what_cannot_be_flushed_at_the_end_is_its_handlers_failure(database: SqlAlchemyDatabase) -> None:
    async def book(session: AsyncSession) -> str:
        await session.execute(text("INSERT INTO booking VALUES ('delphi', 1)"))
        session.add(a_booking())
        return "booked"

    assert isinstance(await handled(database, book), IntegrityError)
    assert (await trips(database), await row(database)) == ([], None)


async def test_a_session_is_of_no_use_after_its_handler(database: SqlAlchemyDatabase) -> None:
    async def leaks(session: AsyncSession) -> AsyncSession:
        session.add(a_booking())
        await session.flush()
        return session

    session = await handled(database, leaks)
    session.add(a_booking("athens"))
    with pytest.raises(Exception, match="closed"):
        await session.flush()
    assert await trips(database) == ["delphi"]


class HotelSession(AsyncSession):
    """One of a team's own."""


async def test_sessions_may_be_of_a_class_of_your_own(database: SqlAlchemyDatabase, opened: Opening) -> None:
    sessions = async_sessionmaker(class_=HotelSession, autoflush=False)
    own: SqlAlchemyDatabase = await opened(SqlAlchemyDatabase(database._opened_engine(), "own", sessions=sessions))

    async def job(tx: Any) -> tuple[bool, bool]:
        return isinstance(tx.given(HotelSession), HotelSession), tx.given(HotelSession).sync_session.autoflush

    async def wanted(tx: Any) -> Any:
        return tx.given(HotelSession)

    assert came_to(*await own.run([job])) == (True, False)
    answer = came_to(*await database.run([wanted]))
    assert isinstance(answer, UsageError)
    assert "HotelSession" in str(answer)


async def test_an_engine_that_commits_each_statement_is_refused(url: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    with pytest.raises(StoreMisconfigured, match="AUTOCOMMIT"):
        await SqlAlchemyDatabase(engine).open()
    await engine.dispose()


@pytest.mark.parametrize("address", ["sqlite:///hotel.db", "nothing", "postgresql+nobody://host/name"])
async def test_an_address_that_is_not_for_asyncio_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        await SqlAlchemyDatabase(address).open()

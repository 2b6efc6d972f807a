"""What is written into a transaction that the caller has open, through whatever driver: one row, once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any

from choros.app.sessions import blocks
from choros.errors import UsageError, with_article
from choros.store.barrier import Row

SqlAnswer = Sequence[Sequence[Any]]
SaySql = Callable[[str, Mapping[str, Any]], Awaitable[SqlAnswer]]
SaySqlAndWait = Callable[[str, Mapping[str, Any]], SqlAnswer]
SqlTalk = Generator[tuple[str, Mapping[str, Any]], SqlAnswer, str]
"""What is said to the database, and answered; in the end the content of the row."""


def talk_of(place: str, row: Row) -> SqlTalk:
    """Write the row of a message that is to leave; where it is there already, what it says."""
    from choros.store.sql.statements import NEW_START, OLD_START

    where = {"namespace": place, "key": row.key}
    if (yield NEW_START, {**where, "reply": row.content, "began": row.began, "since": row.since}):
        return row.content
    ((before,),) = yield OLD_START, where
    return str(before)


async def told_in(session: Any, talk: SqlTalk) -> str:
    """Carry it to the driver of this session; raises UsageError where nothing can be written so."""
    ask = _asked(session)
    try:
        said = next(talk)
        while True:
            said = talk.send(await ask(*said))
    except StopIteration as done:
        return str(done.value)


def blocking_told_in(session: Any, talk: SqlTalk) -> str:
    """The same for drivers that block."""
    ask = _asked_of_who_blocks(session)
    try:
        said = next(talk)
        while True:
            said = talk.send(ask(*said))
    except StopIteration as done:
        return str(done.value)


def _asked(session: Any) -> SaySql:
    if hasattr(session, "fetch") and hasattr(session, "is_in_transaction"):
        if not session.is_in_transaction():
            raise _alone()
        return _by_asyncpg(session)
    if hasattr(session, "execute") and hasattr(session, "run_sync"):
        return _by_sqlalchemy(session)
    if _kind_of(session) == "psycopg.AsyncConnection":
        _check_open(session)
        return _by_psycopg(session)
    raise UsageError(
        f"Nothing can be written through {with_article(type(session))}.",
        "SQLAlchemy's AsyncSession or AsyncConnection, a connection of asyncpg, or an AsyncConnection of psycopg 3;"
        " for those that block there are blocking_start_in and blocking_publish_in.",
    )


def _asked_of_who_blocks(session: Any) -> SaySqlAndWait:
    if blocks(type(session)):
        return _by_sqlalchemy_that_blocks(session)
    if _kind_of(session) == "psycopg.Connection":
        _check_open(session)
        return _by_psycopg_that_blocks(session)
    raise UsageError(
        f"Nothing can be written through {with_article(type(session))}.",
        "a Session or Connection of SQLAlchemy, or a Connection of psycopg 3; or await start_in(...), publish_in(...).",
    )


def _kind_of(session: Any) -> str:
    return f"{type(session).__module__}.{type(session).__qualname__}"


def _check_open(connection: Any) -> None:
    """A connection of psycopg begins a transaction by itself, but where it commits each statement."""
    if connection.autocommit and not connection.info.transaction_status:
        raise _alone()


def _alone() -> UsageError:
    return UsageError(
        "No transaction is open on this connection, so what is asked for would stand alone.",
        "with connection.transaction(): ..., in asyncpg async with.",
    )


def _by_asyncpg(connection: Any) -> SaySql:
    from choros.store.sql.statements import numbered

    async def ask(statement: str, values: Mapping[str, Any]) -> SqlAnswer:
        sql, names = numbered(statement)
        found: SqlAnswer = await connection.fetch(sql, *(values[name] for name in names))
        return found

    return ask


def _by_sqlalchemy(session: Any) -> SaySql:
    from sqlalchemy import text

    async def ask(statement: str, values: Mapping[str, Any]) -> SqlAnswer:
        found: SqlAnswer = (await session.execute(text(statement), values)).all()
        return found

    return ask


def _by_sqlalchemy_that_blocks(session: Any) -> SaySqlAndWait:
    from sqlalchemy import text

    def ask(statement: str, values: Mapping[str, Any]) -> SqlAnswer:
        found: SqlAnswer = session.execute(text(statement), values).all()
        return found

    return ask


def _by_psycopg(connection: Any) -> SaySql:
    from psycopg import AsyncRawCursor

    from choros.store.sql.statements import numbered

    async def ask(statement: str, values: Mapping[str, Any]) -> SqlAnswer:
        sql, names = numbered(statement)
        cursor = await AsyncRawCursor(connection).execute(sql, [values[name] for name in names])
        found: SqlAnswer = await cursor.fetchall()
        return found

    return ask


def _by_psycopg_that_blocks(connection: Any) -> SaySqlAndWait:
    from psycopg import RawCursor

    from choros.store.sql.statements import numbered

    def ask(statement: str, values: Mapping[str, Any]) -> SqlAnswer:
        sql, names = numbered(statement)
        found: SqlAnswer = RawCursor(connection).execute(sql, [values[name] for name in names]).fetchall()
        return found

    return ask

"""A start in the caller's own transaction: it is there with the caller's rows, or neither is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any

from choros.app.app import App
from choros.app.sessions import blocks
from choros.errors import StartConflict, UsageError
from choros.messages import Message
from choros.runtime.client.start_outbox import place_of, same_start, start_row
from choros.saga.saga import Saga
from choros.wire.own_headers import NO_HEADERS, Headers

SqlAnswer = Sequence[Sequence[Any]]
SaySql = Callable[[str, Mapping[str, Any]], Awaitable[SqlAnswer]]
SaySqlAndWait = Callable[[str, Mapping[str, Any]], SqlAnswer]
StartTalk = Generator[tuple[str, Mapping[str, Any]], SqlAnswer, str]
"""What is said to the database, and answered; in the end the saga's id."""


async def start_in(
    session: Any, app: App, saga: Saga[Any], message: Message, *, key: str | None = None, headers: Headers = NO_HEADERS
) -> str:
    """Asked for a saga in the transaction that is open, and return its id: it starts once that is committed, and never
    otherwise. `choros run APP --role starts --database URL` takes it over from there, within a second.

    `session`: SQLAlchemy's `AsyncSession` or `AsyncConnection`, or a connection of asyncpg in a transaction. The same
    key with the same message is the same saga; raises StartConflict for another message, as far as that was asked for
    in this database, UsageError where no transaction is open. `headers`: as of `Client.with_headers`."""
    ask, asking = _asked(session), _asking(app, saga, message, key, headers)
    try:
        said = next(asking)
        while True:
            said = asking.send(await ask(*said))
    except StopIteration as done:
        return str(done.value)


def blocking_start_in(
    session: Any, app: App, saga: Saga[Any], message: Message, *, key: str | None = None, headers: Headers = NO_HEADERS
) -> str:
    """The same for programs that block: `session` is a `Session` or `Connection` of SQLAlchemy, or of psycopg 3."""
    ask, asking = _asked_of_who_blocks(session), _asking(app, saga, message, key, headers)
    try:
        said = next(asking)
        while True:
            said = asking.send(ask(*said))
    except StopIteration as done:
        return str(done.value)


def _asking(app: App, saga: Saga[Any], message: Message, key: str | None, headers: Headers) -> StartTalk:
    from choros.store.sql.statements import NEW_START, OLD_START

    row = start_row(app, saga, message, key, headers)
    place = {"namespace": place_of(app), "key": row.key}
    if not (yield NEW_START, {**place, "reply": row.content, "began": row.began, "since": row.since}):
        ((before,),) = yield OLD_START, place
        if not same_start(before, row.content):
            raise StartConflict(
                f"saga {saga.name!r} was asked for under this key with another message.", "another key."
            )
    return row.key


def _asked(session: Any) -> SaySql:
    if hasattr(session, "fetch") and hasattr(session, "is_in_transaction"):
        if not session.is_in_transaction():
            raise _alone()
        return _by_asyncpg(session)
    if hasattr(session, "execute") and hasattr(session, "run_sync"):
        return _by_sqlalchemy(session)
    raise UsageError(
        f"A start cannot be written through a {type(session).__name__}.",
        "SQLAlchemy's AsyncSession or AsyncConnection, or a connection of asyncpg; or blocking_start_in.",
    )


def _asked_of_who_blocks(session: Any) -> SaySqlAndWait:
    if blocks(type(session)):
        return _by_sqlalchemy_that_blocks(session)
    if f"{type(session).__module__}.{type(session).__qualname__}" == "psycopg.Connection":
        if session.autocommit and not session.info.transaction_status:
            raise _alone()
        return _by_psycopg(session)
    raise UsageError(
        f"A start cannot be written through a {type(session).__name__}.",
        "a Session or Connection of SQLAlchemy, or a Connection of psycopg 3; or await start_in(...).",
    )


def _alone() -> UsageError:
    return UsageError(
        "No transaction is open on this connection, so the start would stand alone.",
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


def _by_psycopg(connection: Any) -> SaySqlAndWait:
    from psycopg import RawCursor

    from choros.store.sql.statements import numbered

    def ask(statement: str, values: Mapping[str, Any]) -> SqlAnswer:
        sql, names = numbered(statement)
        found: SqlAnswer = RawCursor(connection).execute(sql, [values[name] for name in names]).fetchall()
        return found

    return ask

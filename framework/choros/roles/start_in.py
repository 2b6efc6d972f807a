"""A start in the caller's own transaction: it is there with the caller's rows, or neither is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from choros.app.app import App
from choros.errors import StartConflict, UsageError
from choros.messages import Message
from choros.runtime.client.start_outbox import place_of, same_start, start_row
from choros.saga.saga import Saga
from choros.wire.own_headers import NO_HEADERS, Headers

SaySql = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Sequence[Any]]]]


async def start_in(
    session: Any, app: App, saga: Saga[Any], message: Message, *, key: str | None = None, headers: Headers = NO_HEADERS
) -> str:
    """Asked for a saga in the transaction that is open, and return its id: it starts once that is committed, and never
    otherwise. `choros run APP --role starts --database URL` takes it over from there, within a second.

    `session`: SQLAlchemy's `AsyncSession` or `AsyncConnection`, or a connection of asyncpg in a transaction. The same
    key with the same message is the same saga; raises StartConflict for another message, as far as that was asked for
    in this database, UsageError where no transaction is open. `headers`: as of `Client.with_headers`."""
    from choros.store.sql.statements import NEW_START, OLD_START

    row, ask = start_row(app, saga, message, key, headers), _asked(session)
    place = {"namespace": place_of(app), "key": row.key}
    if not await ask(NEW_START, {**place, "reply": row.content, "began": row.began, "since": row.since}):
        ((before,),) = await ask(OLD_START, place)
        if not same_start(before, row.content):
            raise StartConflict(
                f"saga {saga.name!r} was asked for under this key with another message.", "another key."
            )
    return row.key


def _asked(session: Any) -> SaySql:
    if hasattr(session, "fetch") and hasattr(session, "is_in_transaction"):
        if not session.is_in_transaction():
            raise UsageError(
                "No transaction is open on this connection, so the start would stand alone.",
                "async with connection.transaction(): ...",
            )
        return _by_asyncpg(session)
    if hasattr(session, "execute") and hasattr(session, "run_sync"):
        return _by_sqlalchemy(session)
    raise UsageError(
        f"A start cannot be written through a {type(session).__name__}.",
        "SQLAlchemy's AsyncSession or AsyncConnection, or a connection of asyncpg.",
    )


def _by_asyncpg(connection: Any) -> SaySql:
    from choros.store.sql.statements import numbered

    async def ask(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        sql, names = numbered(statement)
        found: Sequence[Sequence[Any]] = await connection.fetch(sql, *(values[name] for name in names))
        return found

    return ask


def _by_sqlalchemy(session: Any) -> SaySql:
    from sqlalchemy import text

    async def ask(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        found: Sequence[Sequence[Any]] = (await session.execute(text(statement), values)).all()
        return found

    return ask

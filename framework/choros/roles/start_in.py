"""A start in the caller's own transaction: it is there with the caller's rows, or neither is."""

from __future__ import annotations

from typing import Any

from choros.app.app import App
from choros.errors import StartConflict
from choros.messages import Message
from choros.roles.in_transaction import blocking_told_in, talk_of, told_in
from choros.runtime.client.start_outbox import place_of, same_start, start_row
from choros.saga.saga import Saga
from choros.store.barrier import Row
from choros.wire.own_headers import NO_HEADERS, Headers


async def start_in(
    session: Any, app: App, saga: Saga[Any], message: Message, *, key: str | None = None, headers: Headers = NO_HEADERS
) -> str:
    """Asked for a saga in the transaction that is open, and return its id: it starts once that is committed, and never
    otherwise. `choros run APP --role starts --database URL` takes it over from there, within a second.

    `session`: SQLAlchemy's `AsyncSession` or `AsyncConnection`, or a connection of asyncpg or an `AsyncConnection` of
    psycopg 3 in a transaction. The same key with the same message is the same saga; raises StartConflict for another
    message, as far as that was asked for in this database, UsageError where no transaction is open. `headers`: as of
    `Client.with_headers`."""
    row = start_row(app, saga, message, key, headers)
    return _same(saga, row, await told_in(session, talk_of(place_of(app), row)))


def blocking_start_in(
    session: Any, app: App, saga: Saga[Any], message: Message, *, key: str | None = None, headers: Headers = NO_HEADERS
) -> str:
    """The same for programs that block: `session` is a `Session` or `Connection` of SQLAlchemy, or of psycopg 3."""
    row = start_row(app, saga, message, key, headers)
    return _same(saga, row, blocking_told_in(session, talk_of(place_of(app), row)))


def _same(saga: Saga[Any], row: Row, there: str) -> str:
    if not same_start(there, row.content):
        raise StartConflict(f"saga {saga.name!r} was asked for under this key with another message.", "another key.")
    return row.key

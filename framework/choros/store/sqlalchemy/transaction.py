"""What a SQLAlchemy handler works with: a session, or the connection, in the transaction that holds the barrier row."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, cast

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, AsyncTransaction, async_sessionmaker

from choros.errors import UsageError
from choros.store.sql.errors import WhatItMeans, meaning_of
from choros.store.sql.transaction import SqlTransaction
from choros.store.sqlalchemy.guard import SessionWatch


@cache
def said(statement: str) -> TextClause:
    """One of choros' own statements, as SQLAlchemy takes it."""
    return text(statement)


class SqlAlchemyTransaction(SqlTransaction):
    """A handler takes this, or by its type the `AsyncSession` or the `AsyncConnection` of it."""

    sessions: ClassVar[tuple[type, ...]] = (AsyncSession, AsyncConnection)

    def __init__(
        self, connection: AsyncConnection, where: str, namespace: str,
        sessions: async_sessionmaker[Any], *, snapshot: bool,
    ) -> None:  # fmt: skip
        super().__init__(where, namespace, snapshot=snapshot)
        self._connection, self._sessions = connection, sessions
        self._session: AsyncSession | None = None

    @property
    def connection(self) -> AsyncConnection:
        """The connection; it commits with the command, and may not be committed, rolled back or closed."""
        self.standing.check()
        return self._connection

    @property
    def session(self) -> AsyncSession:
        """The session on that connection. Its `commit` and `rollback` concern a savepoint."""
        self.standing.check()
        if self._session is None:
            self._session = cast(
                "AsyncSession", self._sessions(bind=self._connection, join_transaction_mode="create_savepoint")
            )
            SessionWatch(self._session.sync_session, self)
        return self._session

    def given(self, kind: type) -> Any:
        """The session, or the connection."""
        if issubclass(kind, AsyncConnection):
            return self.connection
        if not isinstance(self.session, kind):
            raise UsageError(
                f"A handler takes a {kind.__name__}, and its database makes a {type(self.session).__name__}.",
                f"SqlAlchemyDatabase(engine, sessions=async_sessionmaker(class_={kind.__name__})).",
            )
        return self.session

    async def ask(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows of the answer."""
        return (await self._connection.execute(said(statement), values)).all()

    async def tell(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Once for each of these."""
        await self._connection.execute(said(statement), values)

    async def begin_savepoint(self) -> AsyncTransaction:
        """Behind all that the session holds."""
        await self.settle()
        return await self._connection.begin_nested()

    async def end_savepoint(self, mark: AsyncTransaction, *, kept: bool) -> None:
        """The session forgets what it wrote behind it, too."""
        if kept:
            await mark.commit()
            return
        if self._session is not None:
            await self._session.rollback()
        await mark.rollback()

    async def settle(self) -> None:
        """Flush, and end the savepoint of the session."""
        if self._session is not None:
            await self._session.commit()

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE, or by what SQLite says."""
        return meaning_of(error)

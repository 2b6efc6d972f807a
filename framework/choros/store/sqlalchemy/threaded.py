"""A participant's database behind an engine of SQLAlchemy that blocks: what it is asked, it is asked in a thread.

Its handlers are no coroutines; they get the `Session`, or the `Connection`, and work with it in their own thread. The
barrier works on the same connection before and after them, never at the same time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from sqlalchemy import Connection, Engine, NestedTransaction, RootTransaction, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import SingletonThreadPool

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError, shown
from choros.store.barrier import Transaction
from choros.store.sql.barrier import SqlDatabase
from choros.store.sql.errors import WhatItMeans, meaning_of
from choros.store.sql.transaction import SqlTransaction
from choros.store.sqlalchemy.engines import check_engine, made, places_of
from choros.store.sqlalchemy.guard import OPTION, SessionWatch, watch
from choros.store.sqlalchemy.transaction import said

T = TypeVar("T")
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""What a call comes to in a thread."""


class ThreadedSqlAlchemyTransaction(SqlTransaction):
    """A handler takes, by its type, the `Session` or the `Connection` of it."""

    sessions: ClassVar[tuple[type, ...]] = (Session, Connection)

    def __init__(
        self, connection: Connection, where: str, namespace: str, sessions: Callable[..., Session],
        in_thread: InThread, *, snapshot: bool,
    ) -> None:  # fmt: skip
        super().__init__(where, namespace, snapshot=snapshot)
        self._connection, self._sessions, self._in_thread = connection, sessions, in_thread
        self._session: Session | None = None

    @property
    def connection(self) -> Connection:
        """The connection; it commits with the command, and may not be committed, rolled back or closed."""
        self.standing.check()
        return self._connection

    @property
    def session(self) -> Session:
        """The session on that connection. Its `commit` and `rollback` concern a savepoint."""
        self.standing.check()
        if self._session is None:
            self._session = self._sessions(bind=self._connection, join_transaction_mode="create_savepoint")
            SessionWatch(self._session, self)
        return self._session

    def given(self, kind: type) -> Any:
        """The session, or the connection."""
        if issubclass(kind, Connection):
            return self.connection
        if not isinstance(self.session, kind):
            raise UsageError(
                f"A handler takes a {kind.__name__}, and its database makes a {type(self.session).__name__}.",
                f"ThreadedSqlAlchemyDatabase(engine, sessions=sessionmaker(class_={kind.__name__})).",
            )
        return self.session

    async def ask(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows of the answer."""
        rows = await self._in_thread(lambda: self._connection.execute(said(statement), values).all())
        return cast("Sequence[Sequence[Any]]", rows)

    async def tell(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Once for each of these."""
        await self._in_thread(partial(self._connection.execute, said(statement), values))

    async def begin_savepoint(self) -> NestedTransaction:
        """Behind all that the session holds."""
        await self.settle()
        return cast("NestedTransaction", await self._in_thread(self._connection.begin_nested))

    async def end_savepoint(self, mark: NestedTransaction, *, kept: bool) -> None:
        """The session forgets what it wrote behind it, too."""
        if not kept and self._session is not None:
            await self._in_thread(self._session.rollback)
        await self._in_thread(mark.commit if kept else mark.rollback)

    async def settle(self) -> None:
        """Flush, and end the savepoint of the session."""
        if self._session is not None:
            await self._in_thread(self._session.commit)

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE, or by what SQLite says."""
        return meaning_of(error)


class ThreadedSqlAlchemyDatabase(SqlDatabase):
    """The tables of a service whose handlers are no coroutines, and beside them those of the barrier; of these, it sees
    one `namespace`.

    Handlers get a `Session` of these `sessions`, or the `Connection`, in the transaction of their command: as many at a
    time as the engine's pool keeps connections, one on SQLite.
    """

    def __init__(
        self, engine: Engine | str, namespace: str = "choros", *, sessions: sessionmaker[Any] | None = None
    ) -> None:
        """`engine`: yours, which you dispose of; or an address, as SQLAlchemy has it."""
        url = engine if isinstance(engine, str) else engine.url.render_as_string(hide_password=True)
        super().__init__(shown(url), namespace, f"--database {shown(url)}")
        self._url = engine if isinstance(engine, str) else ""
        self._engine = None if isinstance(engine, str) else engine
        self._sessions: sessionmaker[Any] = sessions or sessionmaker(expire_on_commit=False)
        self._threads: ThreadPoolExecutor | None = None

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return ThreadedSqlAlchemyTransaction

    async def opened(self) -> int:
        """Have an engine and threads, and say how many connections it keeps."""
        if self._engine is None:
            self._engine = made(create_engine, self._url)
        check_engine(self._engine)
        if isinstance(self._engine.pool, SingletonThreadPool):
            raise StoreMisconfigured("This engine keeps a database for each thread.", "a file, not one in memory.")
        watch(self._engine)
        places = places_of(self._engine)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(places + 1, "choros-database")  # and one for what is no job
        return places

    async def close(self) -> None:
        """Let go of the threads, and of an engine of its own."""
        if self._url and self._engine is not None:
            engine, self._engine = self._engine, None
            await self._in_thread(engine.dispose)
        if self._threads is not None:
            threads, self._threads = self._threads, None
            threads.shutdown(wait=False)

    async def sees_a_snapshot(self) -> bool:
        """Whether the engine, or the role, has another isolation than READ COMMITTED; SQLite has one writer."""
        engine = self._opened_engine()
        if engine.dialect.name == "sqlite":
            return False

        def asked() -> Any:
            with engine.connect() as connection:
                return connection.scalar(text("SHOW transaction_isolation"))

        return await self._in_thread(asked) not in ("read committed", "read uncommitted")

    @asynccontextmanager
    async def begun(self, *, ours: bool = False) -> AsyncIterator[ThreadedSqlAlchemyTransaction]:
        """One of the engine's connections."""
        lent = _Lent(self._opened_engine(), ours=ours)
        try:
            await self._in_thread(lent.begin)
            transaction = ThreadedSqlAlchemyTransaction(
                lent.connection, self._where, self._namespace, self._sessions, self._in_thread, snapshot=self.snapshot
            )
            lent.carry(transaction)
            yield transaction
        finally:
            await self._in_thread(lent.end)

    async def commit(self, transaction: ThreadedSqlAlchemyTransaction) -> None:
        """Commit its connection's transaction."""
        connection, transaction.ending = transaction.connection, True
        await self._in_thread(connection.commit)

    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """By its SQLSTATE, or by what SQLite says."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return "away"
        return meaning_of(error)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """What it comes to. Who is cancelled meanwhile waits for its end: its connection is nobody else's before."""
        if self._threads is None:
            raise self._not_open()
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        cancelled: asyncio.CancelledError | None = None
        while not working.done():
            try:
                await asyncio.wait({working})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            working.exception()  # nobody else asks for it
            raise cancelled
        return working.result()

    def _opened_engine(self) -> Engine:
        if self._engine is None or self._threads is None:
            raise self._not_open()
        return self._engine

    def _not_open(self) -> StoreUnreachable:
        return StoreUnreachable(f"The database {self._where} is not open.", "await database.open() before using it.")


class _Lent:
    """A connection while it is held; each of its methods is called in a thread, except `carry`."""

    def __init__(self, engine: Engine, *, ours: bool) -> None:
        self._engine, self._ours = engine, ours
        self._connection: Connection | None = None
        self._root: RootTransaction | None = None
        self._carried: ThreadedSqlAlchemyTransaction | None = None

    @property
    def connection(self) -> Connection:
        assert self._connection is not None, "It has begun."
        return self._connection

    def begin(self) -> None:
        connection = self._connection = self._engine.connect()
        postgresql = connection.dialect.name == "postgresql"
        if self._ours and postgresql:  # it locks what it works on
            connection.execution_options(isolation_level="READ COMMITTED")
        self._root = connection.begin()
        driver: Any = connection.connection.driver_connection
        if not self._ours and not postgresql and not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins only where something is written

    def carry(self, transaction: ThreadedSqlAlchemyTransaction) -> None:
        """Have the guard know whose transaction it is."""
        if not self._ours:
            self._carried = transaction
            self.connection.execution_options(**{OPTION: transaction})

    def end(self) -> None:
        """Roll back what was not committed, and give the connection back: not one whose handler tried to end it."""
        connection, carried = self._connection, self._carried
        if connection is None:
            return
        whole = carried is None or carried.ending or (self._root is not None and self._root.is_active)
        if carried is not None:
            carried.ending = True
        if not whole and not connection.closed:
            connection.invalidate()
        connection.close()

"""Connections to one PostgreSQL, checks of the server, named errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.sources import uniform
from choros.store.postgres.address import address_of
from choros.store.postgres.errors import is_undone, leads_elsewhere, named, state_of
from choros.store.postgres.tables import named_in
from choros.telemetry.logs import get_logger

PostgresRow = Sequence[Any]
PostgresLink = Any
"""A connection of the pool, as asyncpg lends it."""
T = TypeVar("T")
_ATTEMPTS = 8
_SESSION = {
    "application_name": "choros",
    # A plan that was made while a table was empty would read all of it long after, until somebody analyses it.
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_SETTINGS = """SELECT name, setting FROM pg_catalog.pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'server_encoding')"""
_ERRORS = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError, ValueError,
    OverflowError,
)  # fmt: skip
_log = get_logger(__name__)


class PostgresServer:
    """A pool of connections to one primary. No statement needs anything that an earlier one has left of its session."""

    def __init__(self, url: str, connections: int, timeout: float) -> None:
        self.address = address_of(url)
        self.name = self.address.name
        self._connections, self._timeout = connections, timeout
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._said: dict[str, str] = {}

    def said(self, statement: str) -> str:
        """The statement with the names of its tables."""
        if statement not in self._said:
            self._said[statement] = named_in(statement, self.address.schema)
        return self._said[statement]

    async def ask(self, statement: str, *values: object) -> Sequence[PostgresRow]:
        """The rows that one statement answers with: a transaction of its own, repeated where it met others."""
        said = self.said(statement)
        return await self.work(lambda link: link.fetch(said, *values))

    async def in_transaction(self, work: Callable[[PostgresLink], Awaitable[T]]) -> T:
        """Do this in one transaction, from the start again where it met others."""

        async def whole(link: PostgresLink) -> T:
            async with link.transaction():
                return await work(link)

        return await self.work(whole)

    async def work(self, work: Callable[[PostgresLink], Awaitable[T]]) -> T:
        """Do this on a connection, from the start again where it met others; raises our errors."""
        for attempt in range(_ATTEMPTS):
            try:
                async with (await self._opened()).acquire(timeout=4 * self._timeout) as link:
                    return await work(link)
            except _ERRORS as error:
                if not is_undone(error):
                    await self._look(error)
                    raise named(error, self.name) from error
            await asyncio.sleep(uniform(0, 0.005 * 2**attempt))
        raise StoreUnreachable(
            f"Transactions in PostgreSQL at {self.name} met others {_ATTEMPTS} times.", "see in its log who they are."
        )

    async def _look(self, error: BaseException) -> None:
        """Whether all connections are to be made anew: the server goes, or is no primary any more and the address may
        lead to another one by now, which no connection made so far finds out."""
        if leads_elsewhere(error) and self._pool is not None:
            _log.warning("choros.store.let_go", server=self.name, why=state_of(error) or type(error).__name__)
            await self._pool.expire_connections()

    async def _opened(self) -> asyncpg.Pool[Any]:
        async with self._opening:
            if self._closed:
                raise StoreUnreachable(f"The connection to PostgreSQL at {self.name} is closed.", "open another store.")
            if self._pool is None:
                self._pool = await self._connected()
        return self._pool

    async def _connected(self) -> asyncpg.Pool[Any]:
        try:
            return await asyncpg.create_pool(
                self.address.dsn,
                min_size=1,
                max_size=self._connections,
                timeout=self._timeout,
                command_timeout=self._timeout,
                reset=_as_it_is,
                **({"server_settings": _SESSION} if self.address.prepared else {"statement_cache_size": 0}),
            )
        except ValueError:
            hint = "postgresql://user:password@host:5432/database; / in a password is %2F, @ is %40."
            raise UsageError(f"The address {self.name} means nothing.", hint) from None

    async def check(self) -> None:
        """Refuse a server that forgets what it acknowledged as soon as its machine does; warn about one that may."""
        found: dict[str, str] = {name: value for name, value in await self.ask(_SETTINGS)}  # noqa: C416 # rows are no pairs
        if found["fsync"] == "off":
            raise StoreMisconfigured(
                f"PostgreSQL at {self.name} may lose all that it holds in a power cut (fsync is off).",
                "fsync = on in postgresql.conf, and a reload.",
            )
        if found["server_encoding"] != "UTF8":
            raise StoreMisconfigured(
                f"The database at {self.name} cannot hold every text (its encoding is {found['server_encoding']}).",
                "a database with ENCODING 'UTF8'.",
            )
        weak = {name: "off" for name in ("synchronous_commit", "full_page_writes") if found[name] == "off"}
        if weak:
            advice = "Acknowledged sagas can be lost in a crash: set synchronous_commit and full_page_writes to on."
            _log.warning("choros.store.not_durable", server=self.name, advice=advice, **weak)

    async def close(self) -> None:
        """Close every connection, and wait no longer for it than for an answer."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), self._timeout)
        except _ERRORS:
            pool.terminate()


async def _as_it_is(link: PostgresLink) -> None:
    """Nothing is left on a connection that the next to use it would mind: a round trip less."""

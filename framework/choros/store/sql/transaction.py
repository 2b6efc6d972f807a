"""What the handlers of a SQL database work with: one connection of its pool, in one transaction.

The key of each row that is read is locked by that statement (`statements.READ`), the first of the transaction; whatever
a handler then reads, it reads after it. What is written to rows goes at the end: in the end it mostly holds something
else, and nobody else can look there before.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from choros.store.barrier import NEVER, Memory, Row, Transaction
from choros.store.local_undo import LocalUndo
from choros.store.sql import statements
from choros.store.sql.errors import WhatItMeans, named
from choros.store.standing import Standing

T = TypeVar("T")


class SqlTransaction(Transaction):
    """The barrier's part of it. What its driver is asked is an adapter's."""

    def __init__(self, where: str, namespace: str, *, snapshot: bool) -> None:
        """`snapshot`: whether all its statements see the database as the first of them does."""
        self._where, self._namespace = where, namespace
        self._horizon = statements.HELD_HORIZON if snapshot else statements.HORIZON
        self._known: dict[str, Row | None] = {}
        self._written: dict[str, Row] = {}
        self._places: frozenset[str] = frozenset()
        """Keys whose place is held, where there was no row."""
        self._turn = asyncio.Lock()
        self.met_another: bool = False
        """Whether another transaction was in its way, so that it has to be done again."""
        self.ending: bool = False
        """Whether it is choros that ends it by now, and no handler."""
        self.standing: Standing = Standing()
        self.local_undo: LocalUndo = self.standing.local_undo

    # --- an adapter's ---

    @abstractmethod
    async def ask(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What the database answers to one of `statements`."""

    @abstractmethod
    async def tell(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        """The same, once for each of these, without an answer."""

    @abstractmethod
    async def begin_savepoint(self) -> Any:
        """A mark to go back to."""

    @abstractmethod
    async def end_savepoint(self, mark: Any, *, kept: bool) -> None:
        """Go back to it, or forget it."""

    @abstractmethod
    async def settle(self) -> None:
        """Write what a handler's session still holds; raises what the database says to that."""

    @abstractmethod
    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """What an error of the driver means."""

    # --- the barrier ---

    async def read_row(self, key: str) -> Row | None:
        """The barrier row of this key; from here on nobody else can read or write it."""
        async with self._turn:
            if key in self._known:
                self.standing.check()
                return self._known[key]
            (found,) = await self._ask(statements.READ, {"key": key})
            self._known[key] = row = statements.to_row(found)
            if row is None:
                self._places |= {key}
            return row

    async def write_row(self, row: Row) -> None:
        """Insert or replace a barrier row."""
        self.standing.check()
        self._known[row.key] = self._written[row.key] = row

    async def horizon(self, memory: Memory) -> float:
        """How far rows are forgotten, by now."""
        async with self._turn:
            return await self.look(memory)

    async def look(self, memory: Memory) -> float:
        """The same, in a turn of one's own."""
        found = await self._ask(self._horizon, {"memory": memory})
        return float(found[0][0]) if found else NEVER

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        mark, before = self.standing.enter(), (dict(self._known), dict(self._written), self._places)
        async with self._turn:
            place = await self._guarded(self.begin_savepoint)
        try:
            yield
            await self.settled()
        except BaseException:
            if self.standing.fail(mark):
                self._known, self._written, self._places = before
                await self._leave(place, kept=False)
            raise
        if self.standing.leave(mark):
            await self._leave(place, kept=True)

    async def _leave(self, place: Any, *, kept: bool) -> None:
        async with self._turn:
            await self._guarded(partial(self.end_savepoint, place, kept=kept))

    async def settled(self) -> None:
        """Have all that a session holds in the database, where something still can be."""
        if self.standing.fallen:
            return
        async with self._turn:
            try:
                await self.settle()
            except Exception:
                self.standing.check()  # what the transaction was lost or spoilt by says more
                raise

    async def write_down(self) -> None:
        """Put its rows into the table, and give back the places that it does not need."""
        await self.settled()
        async with self._turn:
            await self.write(sorted(self._written.values(), key=lambda row: row.key))
            await self._tell(statements.LET_GO, [{"key": key} for key in sorted(self._places - {*self._written})])

    def meets_another(self) -> None:
        """Somebody else has committed what this one must see: its job is done again."""
        self.met_another = True

    async def write(self, rows: Sequence[Row]) -> None:
        """Put these rows into the table."""
        await self._tell(statements.WRITE, [statements.columns_of(row) for row in rows])

    # --- how it stands ---

    async def _ask(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return await self._guarded(partial(self.ask, statement, self._all(values)))

    async def _tell(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        if values:
            await self._guarded(partial(self.tell, statement, [self._all(one) for one in values]))

    def _all(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"namespace": self._namespace, **values}

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        """What one of our own calls comes to: where that is an error, it is never for the handler to judge."""
        self.standing.check()
        try:
            return await call()
        except asyncio.CancelledError as error:
            self.note(error)
            raise
        except Exception as error:
            self.note(error, ours=True)
            self.standing.check()
            raise

    def note(self, error: BaseException, *, ours: bool = False, gone: bool = False) -> None:
        """What becomes of the transaction by an error of the driver; `gone`: with its connection."""
        if isinstance(error, asyncio.CancelledError):
            self.standing.spoil("cut a call on its transaction short")
            return
        meaning = "away" if gone else self.meaning_of(error)
        if meaning == "failed":
            self.standing.spoil("caught what a statement of it failed with, outside of a savepoint")
        elif ours or meaning in ("conflict", "away"):
            if meaning == "conflict":
                self.meets_another()
            self.standing.lose(named(self._where, error))

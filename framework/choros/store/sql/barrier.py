"""A participant's database that speaks SQL: a transaction for each job, as many at a time as it has connections."""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

from choros.errors import ChorosError, StoreMisconfigured, StoreUnreachable
from choros.sources import uniform
from choros.store.barrier import (
    AT_ONCE,
    MEMORIES,
    NEVER,
    SCHEMA_VERSION,
    Carry,
    Database,
    Job,
    JobResult,
    Listed,
    Memory,
    NotDone,
    Ok,
    Row,
    Transaction,
)
from choros.store.schema import other_schema
from choros.store.sql import statements
from choros.store.sql.errors import WhatItMeans, named
from choros.store.sql.schema import TABLES
from choros.store.sql.transaction import SqlTransaction

T = TypeVar("T")
_ATTEMPTS = 40


class MetAnother(Exception):
    """Another transaction was in the way; done again, it works."""


class Talk:
    """A transaction for what is no job: its statements, in the barrier's namespace."""

    def __init__(self, transaction: SqlTransaction, namespace: str) -> None:
        self._transaction, self._namespace = transaction, namespace

    async def ask(self, statement: str, **values: Any) -> Sequence[Sequence[Any]]:
        """What the database answers."""
        return await self._transaction.ask(statement, self._all(values))

    async def tell(self, statement: str, *values: Mapping[str, Any]) -> None:
        """The same for each of these, without an answer."""
        if values:
            await self._transaction.tell(statement, [self._all(one) for one in values])

    def _all(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"namespace": self._namespace, **values}


class SqlDatabase(Database):
    """The barrier's part of it. How a connection is had, and what its driver is told, is an adapter's."""

    def __init__(self, where: str, namespace: str, option: str) -> None:
        """`where`: how people name it, without a password. `option`: how it is given to `choros schema`."""
        self._where, self._namespace, self._option = where, namespace, option
        self._places = asyncio.Semaphore(1)
        self.snapshot: bool = False
        """Whether all statements of a transaction see the database as its first one does."""

    # --- an adapter's ---

    @abstractmethod
    def begun(self, *, ours: bool = False) -> AbstractAsyncContextManager[SqlTransaction]:
        """A connection of the pool, in a transaction that is rolled back at the end, unless it was committed. `ours`:
        no handler comes to see it."""

    @abstractmethod
    async def commit(self, transaction: Any) -> None:
        """Commit it."""

    @abstractmethod
    async def opened(self) -> int:
        """Have a pool; says how many jobs may be at work at a time. Raises StoreMisconfigured for one that cannot be
        used, or what the driver raises."""

    @abstractmethod
    async def sees_a_snapshot(self) -> bool:
        """Whether a transaction sees the database as its first statement does."""

    @abstractmethod
    def meaning_of(self, error: BaseException) -> WhatItMeans:
        """What an error of the driver means."""

    # --- open ---

    async def open(self) -> None:
        """Connect, and create the barrier's tables where they are not there yet."""
        places = await self._known(self.opened)
        version = await self.schema_version()
        if version not in (0, SCHEMA_VERSION):
            raise other_schema(f"The barrier in {self._where}", version, SCHEMA_VERSION, self._option)
        if version == 0:
            await self._prepare()
        self.snapshot = await self._known(self.sees_a_snapshot)
        self._places = asyncio.Semaphore(places)

    async def _prepare(self) -> None:
        """Tables where there are none, and this namespace's place in them."""
        try:
            await self._apart(self._take_place)
        except StoreMisconfigured:
            await self._create()
            await self._apart(self._take_place)

    async def _create(self) -> None:
        """Several processes may do so at once: then one of them meets what another has just created."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self.begun(ours=True) as transaction:
                    for statement in TABLES:
                        await transaction.tell(statement, [{}])
                    await self.commit(transaction)
                return
            except Exception as error:
                if self.meaning_of(error) == "denied":
                    raise _not_there(self._where) from None
                if self.meaning_of(error) != "answer" or attempt + 1 == _ATTEMPTS:
                    raise self._named(error) from None
                await asyncio.sleep(uniform(0, 0.05))

    async def _take_place(self, talk: Talk) -> None:
        await talk.tell(statements.NEW_HORIZON, *({"memory": memory, "at": NEVER} for memory in MEMORIES))
        await talk.tell(statements.NEW_VERSION, {"version": SCHEMA_VERSION})

    async def schema_version(self) -> int:
        """Which schema this namespace has, 0 where it has none yet."""
        await self._known(self.opened)
        try:
            async with self.begun(ours=True) as transaction:
                found = await Talk(transaction, self._namespace).ask(statements.VERSION)
        except Exception as error:
            if self.meaning_of(error) == "missing":
                return 0
            raise self._named(error) from None
        return int(found[0][0]) if found else 0

    async def upgrade(self, carry: Carry) -> int:
        """There is nothing older that these adapters have written."""
        await self.open()
        return 0

    # --- jobs ---

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """Run the jobs side by side, each in a transaction of its own."""
        tasks = [asyncio.ensure_future(self._run_one(job)) for job in jobs]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _run_one(self, job: Job[T]) -> JobResult[T]:
        try:
            async with self._places:
                return await self._insisted(partial(self._attempt, job))
        except ChorosError as error:
            return NotDone(error)

    async def _insisted(self, work: Callable[[], Awaitable[T]]) -> T:
        """What it comes to, done again where other transactions are in its way."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._known(work)
            except MetAnother:
                await asyncio.sleep(uniform(0, min(0.05, 0.001 * 2**attempt)))
        raise StoreUnreachable(
            f"A transaction met others in all its {_ATTEMPTS} attempts.",
            "write less to the same rows, or take them in one order.",
        )

    async def _known(self, work: Callable[[], Awaitable[T]]) -> T:
        """What it comes to; what the driver raises beside all handlers, as an error of choros."""
        try:
            return await work()
        except (ChorosError, MetAnother):
            raise
        except Exception as error:
            raise self._named(error) from None

    def _named(self, error: Exception) -> Exception:
        if isinstance(error, ChorosError):
            return error
        return MetAnother() if self.meaning_of(error) == "conflict" else named(self._where, error)

    async def _attempt(self, job: Job[T]) -> JobResult[T]:
        async with self.begun() as transaction:
            try:
                answer = await transaction.standing.judged(partial(_written_down, job), transaction)
                if transaction.met_another:
                    raise MetAnother
                if isinstance(answer, Ok):
                    await self.commit(transaction)
                return answer
            finally:
                transaction.standing.end()

    async def _apart(self, work: Callable[[Talk], Awaitable[T]]) -> T:
        """Do this in a transaction of its own, beside the jobs."""

        async def once() -> T:
            async with self.begun(ours=True) as transaction:
                done = await work(Talk(transaction, self._namespace))
                await self.commit(transaction)
                return done

        return await self._insisted(once)

    # --- beside them ---

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed, oldest first."""
        return await self._rows(statements.UNSENT, limit)

    async def listed(self, state: Listed, limit: int) -> Sequence[Row]:
        """Rows of this state, oldest first."""
        return await self._rows(statements.ROWS_IN[state], limit)

    async def remembered(self, memory: Memory, since: float, after: str, limit: int) -> Sequence[Row]:
        """Rows of this memory from that moment on, behind that key."""
        return await self._rows(statements.REMEMBERED, limit, memory=memory, since=since, after=after)

    async def _rows(self, statement: str, limit: int, **more: Any) -> Sequence[Row]:
        found = await self._apart(lambda talk: talk.ask(statement, most=limit, **more))
        return [row for row in map(statements.to_row, found) if row is not None]

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed."""
        if keys:
            await self._apart(lambda talk: talk.tell(statements.SENT, *({"key": key} for key in sorted(keys))))

    async def prune(self, now: float) -> int:
        """Forget refusals and tombstones whose time has passed, some at a time."""
        gone, count = 0, AT_ONCE
        while count == AT_ONCE:
            count = len(await self._apart(lambda talk: talk.ask(statements.PRUNE, now=now)))
            gone += count
        return gone

    async def forget(self, memory: Memory, before: float) -> int:
        """Forget the oldest rows of before that moment; the horizon moves in the same transaction."""

        async def work(talk: Talk) -> int:
            await talk.tell(
                statements.MOVE_HORIZON, {"memory": memory, "at": NEVER}
            )  # one of those who forget at a time
            gone = await talk.ask(statements.FORGET, memory=memory, before=before)
            if gone:
                await talk.tell(statements.MOVE_HORIZON, {"memory": memory, "at": max(began for (began,) in gone)})
            return len(gone)

        return await self._apart(work)


async def _written_down(job: Job[T], transaction: Transaction) -> T:
    """What it comes to, once its rows are in the table."""
    assert isinstance(transaction, SqlTransaction)
    done = await job(transaction)
    await transaction.write_down()
    return done


def _not_there(where: str) -> StoreMisconfigured:
    return StoreMisconfigured(
        f"The barrier's tables are not in {where}, and this login may not create them.",
        "choros schema print postgresql --for barrier, run by somebody who may.",
    )

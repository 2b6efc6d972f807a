"""A participant's SQLite database: one group of jobs at a time shares a transaction and its fsync."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from choros.errors import ChorosError, StoreUnreachable, UsageError
from choros.store.barrier import (
    AT_ONCE,
    Carry,
    Database,
    Job,
    JobResult,
    Listed,
    Memory,
    NotDone,
    Ok,
    Raised,
    Row,
    Transaction,
)
from choros.store.sqlite import barrier_schema as schema
from choros.store.sqlite import transaction as rows
from choros.store.sqlite.file import connect, in_transaction, named
from choros.store.sqlite.transaction import SqliteTransaction
from choros.store.sqlite.turns import FileTurn, RolledBack, Turns
from choros.store.sqlite.waiting import WaitingThread

__all__ = ["SqliteDatabase", "SqliteTransaction"]


FLUSH_SECONDS = 0.5
"""How long marks of sent replies may wait for a group to ride with."""
T = TypeVar("T")


class SqliteDatabase(Database):
    """A SQLite file with the participant's own tables and those of the barrier; of these, it sees one `namespace`.

    What may wait for another process or for the disk (begin, commit) happens in a thread; the statements of handlers
    do not, so they should be short. While a group of jobs runs, the file is locked for other writers.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        namespace: str = "choros",
        *,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        """`connection`: what reaches the file, for a world without threads."""
        self.path = Path(path)
        self._namespace, self._kind = namespace, connection
        self._connection: sqlite3.Connection | None = None
        self._thread = WaitingThread(self.path, "choros-sqlite-barrier")
        self._lock = asyncio.Lock()
        self._marks: set[str] = set()
        self._marking: frozenset[str] = frozenset()
        self._horizons: dict[Memory, Any] = {}
        """What of these was read in the transaction that is open."""
        self._flush: asyncio.Task[None] | None = None
        self._turns = Turns(self, self._lock)

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return SqliteTransaction

    async def open(self) -> None:
        """Open or create the file and the tables of the barrier."""
        async with self._lock:
            if self._connection is None:
                self._connection = await self._thread.call(self._opened)

    def _opened(self) -> sqlite3.Connection:
        connection = connect(self.path, self._kind)
        try:
            in_transaction(connection, lambda: schema.prepare(connection, self.path, self._namespace))
        except BaseException:
            connection.close()
            raise
        return connection

    async def schema_version(self) -> int:
        """Which schema this namespace has in the file; 0 where there is no file."""
        if not self.path.exists():
            return 0
        return await self._once(lambda connection: schema.version_of(connection, self.path, self._namespace))

    async def upgrade(self, carry: Carry) -> int:
        """Bring the rows of this namespace up. Those of version 1 stay for others too, in `choros_barrier_1`."""
        return await self._once(lambda connection: schema.upgrade(connection, self.path, self._namespace, carry))

    async def _once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do this in a transaction, on a connection of its own."""

        def done() -> T:
            with closing(connect(self.path, self._kind)) as connection:
                return in_transaction(connection, lambda: work(connection))

        return await self._thread.call(done)

    async def close(self) -> None:
        """Write what waits and let go of the file."""
        if self._connection is None:
            return
        if self._flush is not None:
            self._flush.cancel()
        await self.run(())
        await self._turns.close()
        async with self._lock:
            connection, self._connection = self._connection, None
            await self._thread.call(connection.close)
        self._thread.end()

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """Run the jobs one after another and commit them together, with those of other calls that wait meanwhile; these
        are rolled back if this call is cancelled."""
        if not jobs and not self._marks:
            return []
        try:
            self._checked_open()
            return await self._turns.take(jobs)
        except UsageError as error:
            return [Raised(error)] * len(jobs)
        except ChorosError as error:
            return [NotDone(error)] * len(jobs)

    async def serve(self, turn: FileTurn) -> Sequence[JobResult[Any]]:
        """Do the jobs of one call; what they wrote is taken back if it is cancelled."""
        try:
            return await self._served(turn)
        except sqlite3.Error as error:
            raise RolledBack(named(error, self.path)) from None

    async def _served(self, turn: FileTurn) -> Sequence[JobResult[Any]]:
        if len(turn.jobs) == 1:
            return [await self._run_one(turn, turn.jobs[0])]
        connection = self._checked_open()
        connection.execute("SAVEPOINT choros_turn")
        try:
            answers = [await self._run_one(turn, job) for job in turn.jobs]
        except BaseException:
            _take_back(connection, "choros_turn")
            raise
        connection.execute("RELEASE choros_turn")
        return answers

    async def _run_one(self, turn: FileTurn, job: Job[T]) -> JobResult[T]:
        connection, only = self._checked_open(), len(turn.jobs) == 1
        movable = only and turn.shared
        transaction = SqliteTransaction(connection, self.path, self._namespace, self._horizons, movable=movable)
        turn.slow = transaction.said
        try:
            answer = await transaction.standing.judged(partial(self._written_down, job), transaction)
        except BaseException:
            transaction.end(kept=False)
            raise
        finally:
            turn.slow = None
            transaction.standing.end()
        if not connection.in_transaction:
            raise RolledBack(self._rolled_back(answer, only and not turn.shared))
        transaction.end(kept=isinstance(answer, Ok))
        return answer

    async def _written_down(self, job: Job[T], transaction: Transaction) -> T:
        """What it comes to, once nothing of it is being moved: it may be lost by that."""
        assert isinstance(transaction, SqliteTransaction)
        try:
            done = await job(transaction)
        finally:
            if transaction.said is not None:
                await transaction.said.still()
        transaction.write_down()
        return done

    # --- the transaction that turns share ---

    async def begin(self) -> None:
        """Open it, and write down first which replies were sent: a job may give one of these rows a new one."""
        connection = self._checked_open()
        try:
            await self._thread.begin(connection)
            self._horizons.clear()
            self._marking = frozenset(self._marks)
            rows.mark_sent(connection, self._namespace, self._marking)
        except BaseException as error:
            await self.roll_back()
            raise (named(error, self.path) if isinstance(error, sqlite3.Error) else error) from None

    async def commit(self) -> None:
        """All of it is there to stay, or nothing of it."""
        await self._thread.commit(self._checked_open())
        self._marks -= self._marking

    async def roll_back(self) -> None:
        await self._thread.roll_back(self._checked_open())

    def _rolled_back(self, answer: JobResult[Any], alone: bool) -> ChorosError:
        """Why the whole group is lost: SQLite did so, as when the disk is full, or a statement of this job."""
        if isinstance(answer, NotDone):
            return answer.why
        if alone:
            return UsageError("A handler ran a statement that rolled its whole transaction back.", "another one.")
        return StoreUnreachable(f"The database {self.path} rolled back.", "see the errors before this one.")

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed, oldest first."""
        async with self._lock:
            connection, marks = self._checked_open(), frozenset(self._marks)
            found = await self._thread.call(lambda: rows.unsent(connection, self._namespace, limit + len(marks)))
        return [row for row in found if row.key not in marks][:limit]

    async def listed(self, state: Listed, limit: int) -> Sequence[Row]:
        """Rows of this state, oldest first."""
        async with self._lock:
            connection = self._checked_open()
            return await self._thread.call(lambda: rows.listed(connection, self._namespace, state, limit))

    async def remembered(self, memory: Memory, since: float, after: str, limit: int) -> Sequence[Row]:
        """Rows of this memory from that moment on, behind that key."""
        async with self._lock:
            connection, place = self._checked_open(), (since, after)
            look = partial(rows.remembered, connection, self._namespace, memory, place, limit)
            return await self._thread.call(look)

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed: at once for this object, on disk with the next group or soon."""
        self._checked_open()
        self._marks.update(keys)
        if keys and (self._flush is None or self._flush.done()):
            self._flush = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        """Until it is done: no group may come that they could ride with."""
        while self._marks:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.run(())

    async def prune(self, now: float) -> int:
        """Forget refusals and tombstones whose time has passed, some at a time."""
        gone, more = 0, True
        while more:
            count = await self._apart(lambda connection: rows.prune(connection, self._namespace, now))
            gone, more = gone + count, count == AT_ONCE
        return gone

    async def forget(self, memory: Memory, before: float) -> int:
        """Forget the oldest rows of before that moment; the horizon moves in the same transaction."""
        return await self._apart(lambda connection: rows.forget(connection, self._namespace, memory, before))

    async def _apart(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do this in a transaction of its own, between two groups."""
        async with self._lock:
            connection = self._checked_open()
            return await self._thread.call(lambda: in_transaction(connection, lambda: work(connection)))

    def _checked_open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnreachable(f"The database {self.path} is not open.", "await database.open() before using it.")
        return self._connection


def _take_back(connection: sqlite3.Connection, savepoint: str) -> None:
    if connection.in_transaction:
        connection.execute(f"ROLLBACK TO {savepoint}")
        connection.execute(f"RELEASE {savepoint}")

"""Turns on the one connection that may write: whoever waits at the same moment shares a transaction and its fsync.

One that takes long, as a handler does that waits for somebody else, does not keep those before it from their commit:
what it has written is taken back, the others are committed, and it is written again, without its noticing. Those behind
it wait: SQLite has one writer.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from choros.errors import ChorosError
from choros.store.barrier import Job, JobResult

T = TypeVar("T")
QUICK = 0.05
"""Seconds after which a turn counts as slow."""


class RolledBack(Exception):
    """There is no transaction any more; the error is what that means for all who have worked in it."""

    def __init__(self, error: ChorosError) -> None:
        super().__init__()
        self.error = error


class Slow(Protocol):
    """The work of a turn that can be moved into another transaction."""

    def take_back(self) -> bool:
        """Take back what it has written, and keep it from going on; False where there is no transaction any more."""

    def write_again(self, error: Exception | None) -> None:
        """Write it again, unless there is no transaction for this reason, and let it go on."""


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class FileTurn:
    """What somebody asks for: these jobs, one after another."""

    jobs: Sequence[Job[Any]]
    answers: asyncio.Future[Sequence[JobResult[Any]]] = field(default_factory=_future)
    over: asyncio.Future[None] | None = None
    """Set for whoever was cancelled, and waits until nothing of it is at work."""
    shared: bool = False
    """Whether others have worked in its transaction before it."""
    alone: bool = False
    """Whether nobody else may work in its transaction."""
    slow: Slow | None = None
    """Set while its work may be moved."""
    done: Sequence[JobResult[Any]] = ()

    def fail(self, error: Exception) -> None:
        """Its transaction has come to nothing."""
        if not self.answers.done():
            self.answers.set_exception(error)


class Connection(Protocol):
    """What is shared."""

    async def begin(self) -> None:
        """Open a transaction; raises what stands in the way."""

    async def serve(self, turn: FileTurn) -> Sequence[JobResult[Any]]:
        """Do its jobs; raises RolledBack, and whatever is no Exception after it has taken back what it wrote."""

    async def commit(self) -> None:
        """Commit; raises after all was rolled back."""

    async def roll_back(self) -> None:
        """Nothing of it stays."""


class Turns:
    """Hands them out, and commits."""

    def __init__(self, connection: Connection, lock: asyncio.Lock) -> None:
        """The lock is held while a transaction is open."""
        self._connection, self._lock = connection, lock
        self._waiting: deque[FileTurn] = deque()
        self._group: deque[FileTurn] = deque()
        self._done: list[FileTurn] = []
        self._now: FileTurn | None = None
        self._working: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle

    async def take(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """What the jobs come to, once that is committed; raises what became of the transaction."""
        turn = FileTurn(jobs)
        self._waiting.append(turn)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await turn.answers
        except asyncio.CancelledError:
            if turn is self._now:
                turn.over = _future()
                self._working.cancel()
                await asyncio.wait({turn.over})
            raise

    async def close(self) -> None:
        """Wait until nobody waits."""
        if self._working is not None:
            await asyncio.wait({self._working})

    # --- one after another ---

    async def _work(self) -> None:
        while self._waiting:
            async with self._lock:
                self._group, self._done = deque(self._together()), []
                try:
                    await self._connection.begin()
                except Exception as error:
                    for turn in self._group:
                        turn.fail(error)
                else:
                    await self._each()

    def _together(self) -> Iterator[FileTurn]:
        yield (first := self._waiting.popleft())
        while self._waiting and not (first.alone or self._waiting[0].alone):
            yield self._waiting.popleft()

    async def _each(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(QUICK, self._look, None)
        try:
            while self._group:
                turn = self._group.popleft()
                if not turn.answers.done() and (lost := await self._serve(turn)) is not None:
                    await self._lose(turn, lost)
                    return
            await self._commit()
        finally:
            self._looking.cancel()

    async def _serve(self, turn: FileTurn) -> Exception | None:
        """Do its jobs; what has cost all the transaction, if anything has."""
        self._now, turn.shared = turn, bool(self._done)
        try:
            turn.done = await self._connection.serve(turn)
            self._done.append(turn)
        except RolledBack as lost:
            return lost.error
        except Exception as error:
            return error
        except asyncio.CancelledError:
            if turn.over is None:
                raise
            if self._moving is not None:
                await asyncio.wait({self._moving})
        finally:
            self._now = None
            if turn.over is not None:
                _uncancel()
                turn.over.set_result(None)
        return None

    async def _lose(self, turn: FileTurn, error: Exception) -> None:
        """Whose turn has not come waits for the next transaction; so does, by itself, a job whose own statement has
        cost others theirs."""
        done, self._done = self._done, []
        await self._connection.roll_back()
        for one in done:
            one.fail(error)
        self._waiting.extendleft(reversed(self._group))
        if turn.shared and len(turn.jobs) == 1:
            turn.alone = True
            self._waiting.appendleft(turn)
        else:
            turn.fail(error)

    async def _commit(self) -> None:
        done, self._done = self._done, []
        try:
            await self._connection.commit()
        except Exception as error:
            for turn in done:
                turn.fail(error)
        else:
            for turn in done:
                if not turn.answers.done():
                    turn.answers.set_result(turn.done)

    # --- the slow one ---

    def _look(self, seen: FileTurn | None) -> None:
        now = self._now
        if now is not None and now is seen and now.slow is not None and self._done and self._moving is None:
            self._moving = asyncio.create_task(self._move(now, now.slow))
        self._looking = asyncio.get_running_loop().call_later(QUICK, self._look, now)

    async def _move(self, turn: FileTurn, slow: Slow) -> None:
        """Commit what the others have done, and go on with this one in a transaction of its own."""
        try:
            if turn.slow is slow and slow.take_back():  # else it has just ended
                error = await self._anew()
                if turn.slow is slow:  # else it was cancelled meanwhile
                    slow.write_again(error)
        finally:
            self._moving = None

    async def _anew(self) -> Exception | None:
        """Commit, and open the next transaction; what stood in the way."""
        await self._commit()
        try:
            await self._connection.begin()
        except Exception as error:
            return error
        return None


def _uncancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()

"""Group commit: all that waits at the same moment shares one transaction and its fsync."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from choros.errors import StoreUnreachable
from choros.sources import now
from choros.store.sagas import Committed, Transition
from choros.store.sqlite import rows as rows
from choros.store.sqlite.file import in_transaction, is_of_what_was_given, named
from choros.store.sqlite.waiting import WaitingThread
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 0.05
"""How long marks of sent messages may wait for a commit to ride with."""
AGAIN_SECONDS = 1.0
"""How long marks that could not be written wait, where no commit comes that they could ride with."""
Sent = frozenset[tuple[str, str]]
T = TypeVar("T")


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Request:
    """A batch to be committed, with whoever else is waiting."""

    batch: Sequence[Transition]
    answer: asyncio.Future[Sequence[Committed]] = field(default_factory=_future)


@dataclass(frozen=True, slots=True)
class Errand:
    """Something else to be written, in a transaction of its own."""

    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any] = field(default_factory=_future)


class Writer:
    """The connection that writes. Statements of commits are said on the loop; errands are done in a thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path, scope: str) -> None:
        self._connection, self._path, self._scope = connection, path, scope
        self._thread = WaitingThread(path, "choros-sqlite-writer")
        self._requests: list[Request] = []
        self._errands: deque[Errand] = deque()
        self._marks: set[tuple[str, str]] = set()
        self._marks_are_due = False
        self._working: asyncio.Task[None] | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._stopped = False

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Queue the batch and wait for the commit that holds it."""
        self._check_open()
        self._requests.append(request := Request(batch))
        self._begin()
        return await request.answer

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Queue something that is no commit, and wait until it is done; commits that wait go first."""
        self._check_open()
        self._errands.append(errand := Errand(work))
        self._begin()
        done: T = await errand.answer
        return done

    def _check_open(self) -> None:
        if self._stopped:
            raise StoreUnreachable(f"The saga store {self._path} is closed.", "await store.open() before using it.")

    def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Note what is sent; it is written with the next commit, or soon."""
        self._marks.update(sent)
        self._expect(FLUSH_SECONDS)

    def marks(self) -> Sent:
        """What was marked but may not be written yet: reads leave it out. To be taken *before* the read."""
        return frozenset(self._marks)

    async def close(self) -> None:
        """Write what waits."""
        self._stopped = True
        self._write_marks()
        if self._working is not None:
            await asyncio.wait({self._working})
        if self._flush is not None:
            self._flush.cancel()
        await self._thread.call(self._connection.close)
        self._thread.end()

    # --- at work ---

    def _begin(self) -> None:
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    def _expect(self, seconds: float) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(seconds, self._write_marks)

    def _write_marks(self) -> None:
        self._flush = None
        self._marks_are_due = bool(self._marks)
        if self._marks_are_due:
            self._begin()

    async def _work(self) -> None:
        while self._requests or self._errands or self._marks_are_due:
            requests, self._requests, self._marks_are_due = self._requests, [], False
            await self._write(requests)
            if self._errands and not self._requests:
                await self._run(self._errands.popleft())

    async def _write(self, requests: Sequence[Request]) -> None:
        marks = self.marks()
        if not requests and not marks:
            return
        try:
            answers = await self._in_transaction(lambda: self._apply(requests, marks))
        except Exception as error:
            await self._not_written(requests, error)
        else:
            self._marks -= marks
            for request, answer in zip(requests, answers, strict=True):
                _settle(request, answer)
        if self._marks:
            self._expect(AGAIN_SECONDS)

    async def _in_transaction(self, work: Callable[[], T]) -> T:
        try:
            await self._thread.begin(self._connection)
            done = work()
        except BaseException:
            await self._thread.roll_back(self._connection)
            raise
        await self._thread.commit(self._connection)
        return done

    def _apply(self, requests: Sequence[Request], marks: Sent) -> list[list[Committed]]:
        at = now()
        rows.delete_sent(self._connection, self._scope, marks)
        return [[rows.write(self._connection, self._scope, one, at) for one in request.batch] for request in requests]

    async def _run(self, errand: Errand) -> None:
        try:
            done = await self._thread.call(
                lambda: in_transaction(self._connection, lambda: errand.work(self._connection))
            )
        except Exception as error:
            self._fail(errand, error)
        else:
            _settle(errand, done)

    # --- what could not be written ---

    async def _not_written(self, requests: Sequence[Request], error: Exception) -> None:
        for request in requests:
            if is_of_what_was_given(error):
                await self._write_apart(request)
            else:
                self._fail(request, error)

    async def _write_apart(self, request: Request) -> None:
        """One of them holds what SQLite cannot take: alone it harms no other."""
        try:
            answer = [await self._alone(one) for one in request.batch]
        except Exception as error:
            self._fail(request, error)
        else:
            _settle(request, answer)

    async def _alone(self, transition: Transition) -> Committed:
        try:
            return await self._in_transaction(partial(rows.write, self._connection, self._scope, transition, now()))
        except Exception as error:
            if not is_of_what_was_given(error):
                raise
            log.error("choros.store.refused", saga_id=transition.record.saga_id, error=_name_of(error))
            return Committed.REFUSED

    def _fail(self, request: Request | Errand, error: Exception) -> None:
        if not request.answer.done():
            request.answer.set_exception(named(error, self._path) if isinstance(error, sqlite3.Error) else error)


def _settle(request: Request | Errand, answer: Any) -> None:
    if not request.answer.done():
        request.answer.set_result(answer)


def _name_of(error: Exception) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))

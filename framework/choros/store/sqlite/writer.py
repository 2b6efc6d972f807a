"""Group commit: one thread writes, and all that waits at the same moment shares one transaction and its fsync."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from choros.errors import StoreUnreachable
from choros.sources import now
from choros.store.sagas import Committed, Transition
from choros.store.sqlite import rows as rows
from choros.store.sqlite.file import in_transaction, is_of_what_was_given, named
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 0.05
"""How long marks of sent messages may wait for a commit to ride with."""
AGAIN_SECONDS = 1.0
"""How long marks that could not be written wait, where no commit comes that they could ride with."""
Sent = frozenset[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A batch to be committed, with whoever else is waiting."""

    batch: Sequence[Transition]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Sequence[Committed]]


@dataclass(frozen=True, slots=True)
class Wake:
    """Not a commit: marks are waiting, or it is time to stop."""

    stop: bool


@dataclass(frozen=True, slots=True)
class Errand:
    """Something else to be written, in a transaction of its own."""

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


_Item = Request | Errand | Wake


class Writer:
    """The thread that owns the write connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path, scope: str) -> None:
        self._connection, self._path, self._scope = connection, path, scope
        self._waiting: SimpleQueue[_Item] = SimpleQueue()
        self._marks: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._work, name="choros-sqlite-writer", daemon=True)
        self._thread.start()

    def _put(self, item: _Item) -> None:
        """Give it to the thread."""
        self._waiting.put(item)

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Queue the batch and wait for the commit that holds it."""
        answers: Sequence[Committed] = await self._queue(Request, batch)
        return answers

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Queue something that is no commit, and wait until it is done; commits that wait go first."""
        done: T = await self._queue(Errand, work)
        return done

    async def _queue(self, kind: Callable[..., Request | Errand], what: object) -> Any:
        if self._stopped:
            raise StoreUnreachable(f"The saga store {self._path} is closed.", "await store.open() before using it.")
        loop = asyncio.get_running_loop()
        self._put(waiting := kind(what, loop, loop.create_future()))
        return await waiting.answer

    def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Note what is sent; it is written with the next commit, or soon."""
        with self._lock:
            first = not self._marks
            self._marks.update(sent)
        if first:
            self._put(Wake(stop=False))

    def marks(self) -> Sent:
        """What was marked but may not be written yet: reads leave it out. To be taken *before* the read."""
        with self._lock:
            return frozenset(self._marks)

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        self._stopped = True
        self._put(Wake(stop=True))
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        stop = False
        while not stop:
            items = self._take()
            stop = any(isinstance(item, Wake) and item.stop for item in items)
            self._write([item for item in items if isinstance(item, Request)])
            for errand in items:
                if isinstance(errand, Errand):
                    self._run(errand)
        self._connection.close()

    def _take(self) -> list[_Item]:
        items = list[_Item]()
        with suppress(Empty):
            items.append(self._waiting.get(timeout=AGAIN_SECONDS if self.marks() else None))
        if items and isinstance(items[0], Wake) and not items[0].stop:
            with suppress(Empty):
                items.append(self._waiting.get(timeout=FLUSH_SECONDS))
        with suppress(Empty):
            while True:
                items.append(self._waiting.get_nowait())
        return items

    def _write(self, requests: Sequence[Request]) -> None:
        marks = self.marks()
        try:
            answers = in_transaction(self._connection, lambda: self._apply(requests, marks))
        except Exception as error:
            self._not_written(requests, error)
        else:
            with self._lock:
                self._marks -= marks
            _tell([_answering(request, answer) for request, answer in zip(requests, answers, strict=True)])

    def _apply(self, requests: Sequence[Request], marks: Sent) -> list[list[Committed]]:
        at = now()
        rows.delete_sent(self._connection, self._scope, marks)
        return [[rows.write(self._connection, self._scope, one, at) for one in request.batch] for request in requests]

    def _run(self, errand: Errand) -> None:
        try:
            done = in_transaction(self._connection, lambda: errand.work(self._connection))
        except Exception as error:
            _tell([self._failing(errand, error)])
        else:
            _tell([_answering(errand, done)])

    def _not_written(self, requests: Sequence[Request], error: Exception) -> None:
        if is_of_what_was_given(error):
            for request in requests:
                self._write_apart(request)
            return
        _tell([self._failing(request, error) for request in requests])

    def _write_apart(self, request: Request) -> None:
        """One of them holds what SQLite cannot take: alone it harms no other."""
        try:
            answer = [self._alone(one) for one in request.batch]
        except Exception as error:
            _tell([self._failing(request, error)])
        else:
            _tell([_answering(request, answer)])

    def _failing(self, request: Request | Errand, error: Exception) -> _Telling:
        meant = named(error, self._path) if isinstance(error, sqlite3.Error) else error
        return _telling(request, request.answer.set_exception, meant)

    def _alone(self, transition: Transition) -> Committed:
        work = partial(rows.write, self._connection, self._scope, transition, now())
        try:
            return in_transaction(self._connection, work)
        except Exception as error:
            if not is_of_what_was_given(error):
                raise
            log.error("choros.store.refused", saga_id=transition.record.saga_id, error=_name_of(error))
            return Committed.REFUSED


def _name_of(error: Exception) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


_Telling = tuple[asyncio.AbstractEventLoop, Callable[[], None]]


def _answering(request: Request | Errand, answer: Any) -> _Telling:
    return _telling(request, request.answer.set_result, answer)


def _telling(request: Request | Errand, settle: Callable[[Any], None], what: object) -> _Telling:
    def tell() -> None:
        if not request.answer.done():
            settle(what)

    return request.loop, tell


def _tell(tellings: Sequence[_Telling]) -> None:
    """Wake each event loop once, not once for each request."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    for loop, tell in tellings:
        by_loop.setdefault(loop, []).append(tell)
    for loop, tells in by_loop.items():
        with suppress(RuntimeError):  # that loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_call_all, tells)


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()

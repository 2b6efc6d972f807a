"""The threads of a role: where handlers run that are no coroutines, so many at a time, beside the loop."""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from choros.app.blocking import Blocking, CutOff, Ended, end_of
from choros.errors import ChorosError


class NoThread(ChorosError):
    """All threads are held by calls that were cut off and go on."""

    says_all = True


class Threads:
    """A thread cannot be stopped: one that was cut off keeps its place until it has really ended."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy = 0
        self._pool: ThreadPoolExecutor | None = None
        self.places = asyncio.Semaphore(most)
        """Waited for before a transaction is begun, so that none is open while its handler waits for a thread."""

    async def run(self, work: Blocking) -> Any:
        """What it comes to. Whoever is cancelled meanwhile waits for its end; its transaction is over from then on."""
        if self._busy >= self._most:
            sentence = f"All {self._most} threads are at work on calls that were cut off and have not ended."
            raise NoThread(sentence, "let handlers end in time, or restart the process.")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._most, "choros-handler")
        self._busy += 1
        loop, call = asyncio.get_running_loop(), _Bridge(asyncio.get_running_loop())
        working = loop.run_in_executor(self._pool, copy_context().run, partial(end_of, work, call.wait))
        working.add_done_callback(self._has_ended)
        return await _ended(working, call)

    def _has_ended(self, _: asyncio.Future[Ended]) -> None:
        self._busy -= 1


class _Bridge:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.cut_off = False

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Called in the thread: has the loop await it."""
        if self.cut_off:
            raise CutOff
        return asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop).result()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _ended(working: asyncio.Future[Ended], call: _Bridge) -> Any:
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            call.cut_off, cancelled = True, error
    if cancelled is not None:
        raise cancelled
    return working.result().value()

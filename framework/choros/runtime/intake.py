"""Intake: batches from one queue until stopped, and a bounded end for whatever is under way by then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from choros.transport.port import Delivery, Transport

Take = Callable[[Sequence[Delivery]], Awaitable[None]]


class Intake:
    """The life of a participant or subscriber: receive, work in tasks of our own, stop within a deadline.

    Tasks are not counted: each holds at least one unsettled delivery, so the prefetch bounds them.
    """

    def __init__(self, transport: Transport, queue: str, prefetch: int, drain: float) -> None:
        self._transport = transport
        self._queue = queue
        self._prefetch = prefetch
        self._drain = drain
        self._working: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._started = False
        self._failure: BaseException | None = None

    async def run(self, take: Take, *background: Coroutine[Any, Any, None]) -> None:
        """Hand every batch to `take` until stopped; raises the first error that is nobody else's affair."""
        self._started = True
        for coroutine in background:
            self._start(coroutine, self._background)
        receiving = self.spawn(self._receive(take))
        try:
            await self._stopping.wait()
        except asyncio.CancelledError:
            self._drain = 0.0  # whoever cancels does not want to wait
            raise
        finally:
            await self._end(receiving)
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Receive no more, let what is under way finish, and return when `run` is about to."""
        self._stopping.set()
        if self._started:
            await self._ended.wait()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work on something beside the batches; its errors end `run`."""
        return self._start(coroutine, self._working)

    def _start(self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(self._check)
        return task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._stopping.set()

    async def _receive(self, take: Take) -> None:
        consumer = await self._transport.consume(self._queue, self._prefetch)
        closing = asyncio.create_task(self._close_on_stop(consumer.close))
        try:
            while deliveries := await consumer.receive(self._prefetch):
                await take(deliveries)
        finally:
            closing.cancel()
            self._stopping.set()
            await consumer.close()

    async def _close_on_stop(self, close: Callable[[], Awaitable[None]]) -> None:
        await self._stopping.wait()
        await close()

    async def _end(self, receiving: asyncio.Task[None]) -> None:
        """What is still under way at the deadline is cut off: it was not acknowledged, so it comes again."""
        try:
            await _cancel(self._background)
            deadline = asyncio.get_running_loop().time() + self._drain
            while self._working and (left := deadline - asyncio.get_running_loop().time()) > 0:
                await asyncio.wait(set(self._working), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel({receiving, *self._working, *self._background})
            self._ended.set()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in set(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

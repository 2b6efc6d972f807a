"""Intake: batches from one queue until stopped, and a bounded end for whatever is under way by then."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from choros.runtime.host.call import in_order, plainly
from choros.sources import now
from choros.transport.port import Carrier, Consumer, Delivery

Take = Callable[[Sequence[Delivery]], Awaitable[None]]
First = Callable[[], Awaitable[None]]


class Intake:
    """The life of a participant or subscriber: receive, work in tasks of our own, stop within a deadline.

    Tasks are not counted: each holds at least one unsettled delivery, so the prefetch bounds them.
    """

    def __init__(self, transport: Carrier, queue: str, prefetch: int, drain: float, *, together: bool = False) -> None:
        """With `together`, nothing goes back to the queue before all that is under way has ended: then everything that
        is unsettled goes back at once, in its order."""
        self._transport = transport
        self._queue = queue
        self._prefetch = prefetch
        self._drain = drain
        self._together = together
        self._kept: _Kept | None = None
        self._away: tuple[float, Callable[[], None]] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._started = False
        self._failure: BaseException | None = None
        self.last_delivery: float | None = None
        """When the last one came, in seconds since the epoch."""

    async def run(self, take: Take, *background: Coroutine[Any, Any, None], first: First | None = None) -> None:
        """Hand every batch to `take` until stopped; raises the first error that is nobody else's affair.

        `first` comes before the queue is consumed for the first time."""
        self._started = True
        for coroutine in background:
            self._start(coroutine, self._background)
        receiving = self.spawn(self._receive(take, first))
        try:
            await self._stopping.wait()
        except asyncio.CancelledError:
            self._drain = 0.0  # whoever cancels does not want to wait
            raise
        finally:
            await self._end(receiving)
        if self._failure is not None:
            raise plainly(self._failure)

    @property
    def gives_way(self) -> bool:
        """Whether it is letting go of the queue."""
        return self._away is not None

    @property
    def stopping(self) -> bool:
        """Whether nothing more is to be received."""
        return self._stopping.is_set()

    async def stop(self) -> None:
        """Receive no more, let what is under way finish, and return when `run` is about to."""
        self._stopping.set()
        if self._started:
            await self._ended.wait()

    def fail(self, error: BaseException) -> None:
        """Receive no more, and let `run` raise this once what is under way has finished."""
        self._failure = self._failure or error
        self._stopping.set()

    def give_way(self, seconds: float, then: Callable[[], None]) -> None:
        """Let another consumer of the queue have its turn: receive no more, once all that is under way has ended let go
        of the queue, call `then`, and consume it again after so many seconds. Only `together`."""
        assert self._kept is not None
        self._away = seconds, then
        self._kept.finish()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work on something beside the batches; its errors end `run`."""
        return self._start(coroutine, self._working)

    def accompany(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do something beside the batches that ends, unfinished, when nothing more is to be received."""
        self._start(coroutine, self._background)

    def _start(self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(self._check)
        return task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _receive(self, take: Take, first: First | None) -> None:
        try:
            if first is not None:
                await first()
            while not self._stopping.is_set():
                consumer = await self._transport.consume(self._queue, self._prefetch)
                self._kept = _Kept(consumer) if self._together else None
                await self.read(self._kept or consumer, take)
                if self._away is None:
                    break
                await self._let_go()
        finally:
            self._stopping.set()

    async def _let_go(self) -> None:
        """Of the queue, for a while; what is unsettled goes back together."""
        while others := self._working - {asyncio.current_task()}:
            await asyncio.wait(others)
        kept, self._kept = self._kept, None
        assert kept is not None
        await kept.drop()
        assert self._away is not None
        (seconds, then), self._away = self._away, None
        then()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def read(self, consumer: Consumer, take: Take) -> None:
        """Hand every batch of a consumer to `take` until it is closed, which stopping does."""
        closing = asyncio.create_task(self._close_on_stop(consumer.close))
        try:
            while deliveries := await consumer.receive(self._prefetch):
                self.last_delivery = now()
                await in_order(partial(take, deliveries))
        finally:
            closing.cancel()
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
            while self._working or not receiving.done():  # what is cut off may begin something in its last breath
                await _cancel({receiving, *self._working})
            await _cancel(self._background)
            if self._kept is not None:
                await self._kept.drop()
            self._ended.set()


class _Kept:
    """A consumer that receives no more when it is closed, and still holds its queue."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._closed = asyncio.Event()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        receiving = asyncio.ensure_future(self._consumer.receive(limit))
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({receiving, closing}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else []
        finally:
            receiving.cancel()
            closing.cancel()

    def finish(self) -> None:
        self._closed.set()

    async def close(self) -> None:
        self.finish()

    async def drop(self) -> None:
        await self._consumer.drop()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in set(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

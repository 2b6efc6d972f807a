"""What waits at the same moment is done together: fewer trips the more there is to do, and no delay for one alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Got = TypeVar("Got")


class Together(Generic[Asked, Got]):
    """Collects what is asked while earlier questions are under way, and asks it in one go."""

    def __init__(
        self,
        ask_all: Callable[[Sequence[Asked]], Awaitable[Sequence[Got]]],
        *,
        weigh: Callable[[Asked], int],
        under_way: int = 1,
        at_most: int = 500,
    ) -> None:
        """`at_most` this weight goes on one trip, unless a single question is heavier."""
        self._ask_all, self._weigh = ask_all, weigh
        self._under_way, self._at_most = under_way, at_most
        self._waiting: list[tuple[Asked, asyncio.Future[Got]]] = []
        self._working = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked) -> Got:
        """The answer, or the error of the trip it was on. What is under way goes on if the caller is cancelled."""
        future: asyncio.Future[Got] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._working < self._under_way:
            self._working += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._waiting:
                taken = self._take()
                if taken:
                    await self._trip([asked for asked, _ in taken], [future for _, future in taken])
        finally:
            self._working -= 1  # in the same breath as the last look: nobody is left waiting

    def _take(self) -> list[tuple[Asked, asyncio.Future[Got]]]:
        weight = count = 0
        for asked, _ in self._waiting:
            weight += self._weigh(asked)
            if count and weight > self._at_most:
                break
            count += 1
        taken = [(asked, future) for asked, future in self._waiting[:count] if not future.done()]
        del self._waiting[:count]
        return taken

    async def _trip(self, asked: Sequence[Asked], futures: Sequence[asyncio.Future[Got]]) -> None:
        try:
            answers = await self._ask_all(asked)
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():
                future.set_result(answer)

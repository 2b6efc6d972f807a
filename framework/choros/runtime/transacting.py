"""Jobs on a database that may be away for a while: what it could not do is told apart from what a handler raised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from choros.errors import Misconfigured, StoreUnreachable
from choros.runtime.telemetry import get_logger
from choros.store.barrier import Database, Job
from choros.transport.backoff import full_jitter

log = get_logger(__name__)


_TOGETHER = 3
"""How often a batch that the database did not do is tried again as a whole."""


class Failing(Protocol):
    """What a job is for; it remembers what its handler raised."""

    failure: BaseException | None


W = TypeVar("W", bound=Failing)
Done = Callable[[list[tuple[W, Any]]], None]
Spawn = Callable[[Coroutine[Any, Any, None]], Any]


class Transacting:
    """Runs jobs, and says which of them the database did not do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reachable = True

    async def attempt(self, works: Sequence[Failing], jobs: Sequence[Job]) -> list[Any]:
        """Run them once: results and exceptions of handlers in order, `StoreUnreachable` for what was not done.

        Raises Misconfigured where the database must not be used at all."""
        try:
            results = list(await self._database.run(jobs))
        except StoreUnreachable as error:
            results = [error] * len(jobs)
        lost = [result for work, result in zip(works, results, strict=True) if unreachable(work, result)]
        for work, result in zip(works, results, strict=True):
            if isinstance(result, Misconfigured) and result is not work.failure:
                raise result
        self._note(lost, len(jobs))
        return results

    async def together(self, works: Sequence[W], job: Callable[[W], Job], done: Done[W], spawn: Spawn) -> None:
        """Run a batch until the database has done all of it, telling `done` what came of each.

        While it does none of them, this waits, a few times. Then each is tried on its own: one that the database
        never does (or that takes its whole group down) shall not hold up the others, nor what comes after."""
        for tried, delay in enumerate(full_jitter()):
            results = await self.attempt(works, [job(work) for work in works]) if works else []
            pairs = list(zip(works, results, strict=True))
            left = [work for work, result in pairs if unreachable(work, result)]
            if finished := [(work, result) for work, result in pairs if not unreachable(work, result)]:
                done(finished)
            if not left:
                return
            if finished or tried >= _TOGETHER:
                for work in left:
                    spawn(self._later(work, job, done, spawn))
                return
            await asyncio.sleep(delay)
            works = left

    async def _later(self, work: W, job: Callable[[W], Job], done: Done[W], spawn: Spawn) -> None:
        for delay in full_jitter():
            await asyncio.sleep(delay)
            (result,) = await self.attempt([work], [job(work)])
            if not unreachable(work, result):
                done([(work, result)])
                return

    async def insist(self, work: Failing, job: Job) -> Any:
        """Run one job, again and again until the database has done it; raises what the job raised."""
        delays = full_jitter()
        while True:
            (result,) = await self.attempt([work], [job])
            if unreachable(work, result):
                await asyncio.sleep(next(delays))
            elif isinstance(result, BaseException):
                raise result
            else:
                return result

    def _note(self, lost: Sequence[BaseException], of: int) -> None:
        if lost and self._reachable:
            log.warning("choros.database.unreachable", count=len(lost), error=type(lost[0]).__name__)
        elif of and not lost and not self._reachable:
            log.info("choros.database.reachable")
        self._reachable = not lost


def unreachable(work: Failing, result: Any) -> bool:
    """Whether the database did not do this job (a handler may raise the very same error, about something else)."""
    return isinstance(result, StoreUnreachable) and result is not work.failure

"""Jobs on a database that may be away for a while: what it could not do is told apart from what a handler raised."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from choros.errors import StoreUnreachable
from choros.sources import full_jitter
from choros.store.barrier import Database, Job
from choros.telemetry.logs import get_logger

log = get_logger(__name__)


class Failing(Protocol):
    """What a job is for; it remembers what its handler raised."""

    failure: BaseException | None


class Transacting:
    """Runs jobs, and says which of them the database did not do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lost = 0
        """Jobs that the database has not done when it was last asked."""

    async def insist(self, work: Failing, job: Job) -> Any:
        """Run one job, again and again until the database has done it; raises what the job raised, and Misconfigured
        where the database must not be used at all."""
        result = await self._attempt(job)
        if unreachable(work, result):
            result = await self._again(work, job, result)
        if isinstance(result, BaseException):
            raise result
        return result

    async def _again(self, work: Failing, job: Job, result: Any) -> Any:
        if not self._lost:
            log.warning("choros.database.unreachable", error=type(result).__name__)
        self._lost += 1
        try:
            for delay in full_jitter():
                await asyncio.sleep(delay)
                if not unreachable(work, result := await self._attempt(job)):
                    break
        finally:
            self._lost -= 1
        if not self._lost:
            log.info("choros.database.reachable")
        return result

    async def _attempt(self, job: Job) -> Any:
        try:
            (result,) = await self._database.run([job])
        except StoreUnreachable as error:
            return error
        return result


def unreachable(work: Failing, result: Any) -> bool:
    """Whether the database did not do this job (a handler may raise the very same error, about something else)."""
    return isinstance(result, StoreUnreachable) and result is not work.failure

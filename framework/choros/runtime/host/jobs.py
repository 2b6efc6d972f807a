"""Jobs on a database that may be away for a while."""

import asyncio
from typing import TypeVar

from choros.errors import StoreUnreachable
from choros.sources import full_jitter
from choros.store.barrier import Database, Job, JobResult, NotDone
from choros.telemetry.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")


class Jobs:
    """Runs jobs on one database, and says once that it is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lost = 0
        """Jobs that the database has not done when it was last asked."""

    async def insist(self, job: Job[T]) -> JobResult[T]:
        """Run one job, again and again while the database is away. Not done: it must not be used at all."""
        (result,) = await self._database.run([job])
        return await self._again(job, result) if _is_away(result) else result

    async def _again(self, job: Job[T], result: JobResult[T]) -> JobResult[T]:
        if not self._lost:
            log.warning("choros.database.unreachable", error="StoreUnreachable")
        self._lost += 1
        try:
            for delay in full_jitter():
                await asyncio.sleep(delay)
                (result,) = await self._database.run([job])
                if not _is_away(result):
                    break
        finally:
            self._lost -= 1
        if not self._lost:
            log.info("choros.database.reachable")
        return result


def _is_away(result: JobResult[T]) -> bool:
    return isinstance(result, NotDone) and isinstance(result.why, StoreUnreachable)

"""Jobs on a database that may be away for a while."""

import asyncio
from typing import TypeVar

from choros.errors import StoreUnreachable
from choros.sources import full_jitter
from choros.store.barrier import Database, Job, NotDone, Ok, Raised, value_of
from choros.telemetry.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")


class Jobs:
    """Runs jobs on one database, and says once that it is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lost = 0
        """Jobs that the database has not done when it was last asked."""

    async def insist(self, job: Job[T]) -> Ok[T] | Raised:
        """Run one job, again and again while the database is away; raises Misconfigured where it must not be used."""
        return await self._run(job) or await self._again(job)

    async def value(self, job: Job[T]) -> T:
        """What it comes to; raises what it raises, too."""
        return value_of(await self.insist(job))

    async def _again(self, job: Job[T]) -> Ok[T] | Raised:
        if not self._lost:
            log.warning("choros.database.unreachable", error="StoreUnreachable")
        self._lost += 1
        delays, result = full_jitter(), None
        try:
            while result is None:
                await asyncio.sleep(next(delays))
                result = await self._run(job)
        finally:
            self._lost -= 1
        if not self._lost:
            log.info("choros.database.reachable")
        return result

    async def _run(self, job: Job[T]) -> Ok[T] | Raised | None:
        """None where the database is away."""
        (result,) = await self._database.run([job])
        if not isinstance(result, NotDone):
            return result
        if isinstance(result.why, StoreUnreachable):
            return None
        raise result.why

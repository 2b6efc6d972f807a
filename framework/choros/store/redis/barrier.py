"""A participant's Redis: each job reads under WATCH and writes in one EXEC; jobs of a run go side by side."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from redis.asyncio import Connection

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.sources import uniform
from choros.store.barrier import (
    AT_ONCE,
    Carry,
    Database,
    Job,
    JobResult,
    Listed,
    Memory,
    NotDone,
    Ok,
    Raised,
    Row,
    Transaction,
)
from choros.store.redis.barrier_schema import RedisSchema
from choros.store.redis.barrier_scripts import FORGET_ROWS, PRUNE
from choros.store.redis.server import Server
from choros.store.redis.transaction import Conflict, RedisTransaction, readable

__all__ = ["RedisDatabase", "RedisTransaction"]

T = TypeVar("T")
_ATTEMPTS = 40


class RedisDatabase(Database):
    """A Redis primary with the participant's own keys and the rows of the barrier.

    Give every service a `namespace` of its own: its unsent replies are found by it.
    """

    def __init__(self, url: str, namespace: str = "choros", *, connections: int = 64, timeout: float = 5.0) -> None:
        self._server = Server(url, connections + 2, timeout)  # two for what is not a job
        self._prefix = f"{{{namespace}}}:barrier:"
        self._schema = RedisSchema(self._server, self._prefix)
        self._places = asyncio.Semaphore(connections)

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return RedisTransaction

    async def open(self) -> None:
        """Connect, and refuse a server that could forget what it acknowledged."""
        await self._server.check()
        await self._schema.prepare()

    async def schema_version(self) -> int:
        """Which schema the rows of this namespace have, 0 where there are none yet."""
        return await self._schema.version()

    async def upgrade(self, carry: Carry) -> int:
        """Bring the rows of an older schema to this one; says how many keys have changed."""
        return await self._schema.upgrade(carry)

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """Run the jobs side by side, each in a transaction of its own."""
        tasks = [asyncio.ensure_future(self._run_one(job)) for job in jobs]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _run_one(self, job: Job[T]) -> JobResult[T]:
        try:
            async with self._places:
                return await self._until_done(job)
        except (StoreUnreachable, StoreMisconfigured) as error:
            return NotDone(error)
        except Exception as error:
            return Raised(error)

    async def _until_done(self, job: Job[T]) -> JobResult[T]:
        for attempt in range(_ATTEMPTS):
            try:
                async with self._server.link() as connection:
                    return await self._attempt(job, connection)
            except Conflict:
                await asyncio.sleep(uniform(0, min(0.05, 0.001 * 2**attempt)))
        raise StoreUnreachable(
            f"A transaction met others in all its {_ATTEMPTS} attempts.", "spread what is written over more keys."
        )

    async def _attempt(self, job: Job[T], connection: Connection) -> JobResult[T]:
        transaction = RedisTransaction(self._server, connection, self._prefix)
        try:
            answer = await transaction.standing.judged(job, transaction)
            if isinstance(answer, Ok):
                await transaction.commit()
        except BaseException:
            await transaction.abandon()
            raise
        if not isinstance(answer, Ok):
            await transaction.abandon()
        elif transaction.watching:
            await self._server.talk_on(connection, [("UNWATCH",)])
        return answer

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed, oldest first."""
        return await self._in_order(f"{self._prefix}unsent", limit)

    async def listed(self, state: Listed, limit: int) -> Sequence[Row]:
        """Rows of this state, oldest first."""
        return await self._in_order(f"{self._prefix}{state}", limit)

    async def remembered(self, memory: Memory, since: float, after: str, limit: int) -> Sequence[Row]:
        """Rows of this memory from that moment on, behind that key: asked for with those of that very moment, which
        are passed over."""
        index, at = f"{self._prefix}aging:{memory}", repr(since)
        passed_over = set(await self._server.ask("ZRANGEBYSCORE", index, at, at)) if after else set[str]()
        most = limit + len(passed_over)
        keys = await self._server.ask("ZRANGEBYSCORE", index, at, "+inf", "LIMIT", 0, most)
        return await self._rows([key for key in keys if key not in passed_over or key > after][:limit])

    async def _in_order(self, index: str, limit: int) -> Sequence[Row]:
        return await self._rows(await self._server.ask("ZRANGE", index, 0, limit - 1))

    async def _rows(self, keys: Sequence[str]) -> Sequence[Row]:
        if not keys:
            return []
        stored = await self._server.ask("MGET", *(f"{self._prefix}row:{key}" for key in keys))
        rows = (readable(key, one) for key, one in zip(keys, stored, strict=True))
        return [row for row in rows if row is not None]

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed."""
        if keys:
            await self._server.ask("ZREM", f"{self._prefix}unsent", *keys)

    async def prune(self, now: float) -> int:
        """Forget refusals and tombstones whose time has passed; only such are in the index."""
        forgotten, more = 0, True
        while more:
            call = PRUNE.call([f"{self._prefix}prune"], self._prefix, repr(now), AT_ONCE)
            (count,) = await self._server.run(PRUNE, [call])
            forgotten, more = forgotten + count, count == AT_ONCE
        return forgotten

    async def forget(self, memory: Memory, before: float) -> int:
        """Forget the oldest rows of before that moment; one script moves the horizon, and deletes."""
        names, passed_over = [f"{self._prefix}aging:{memory}", f"{self._prefix}horizon:{memory}"], 0
        while True:
            call = FORGET_ROWS.call(names, self._prefix, repr(before), passed_over, AT_ONCE)
            ((count, owing),) = await self._server.run(FORGET_ROWS, [call])
            passed_over += owing
            if count or owing < AT_ONCE:
                return int(count)

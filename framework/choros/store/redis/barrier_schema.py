"""Which schema the rows of one namespace have in Redis, and the way up; the first one was noted by nothing."""

from collections.abc import AsyncIterator, Sequence

from choros.sources import fresh_id, now
from choros.store.barrier import SCHEMA_VERSION, Carry, Row, grown_old
from choros.store.redis.server import RedisCommand, Script, Server
from choros.store.redis.transaction import aging, readable, to_stored
from choros.store.schema import other_schema

# What is copied owes nobody a reply: of an old row only the key that it keeps may be unsent.
_CARRY = Script("""
local old = ARGV[2]
local stored = redis.call('GET', ARGV[1] .. 'row:' .. old)
local prune_at = redis.call('ZSCORE', ARGV[1] .. 'prune', old)
if not stored then return 0 end
local stays = false
for i = 3, #ARGV do
    stays = stays or ARGV[i] == old
    redis.call('SET', ARGV[1] .. 'row:' .. ARGV[i], stored)
    if prune_at then redis.call('ZADD', ARGV[1] .. 'prune', prune_at, ARGV[i]) end
end
if not stays then
    redis.call('DEL', ARGV[1] .. 'row:' .. old)
    redis.call('ZREM', ARGV[1] .. 'prune', old)
    redis.call('ZREM', ARGV[1] .. 'unsent', old)
end
return 1
""")


class RedisSchema:
    """The schema of the rows behind one prefix."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server, self._prefix = server, prefix
        self._noted = f"{prefix}schema"

    async def version(self) -> int:
        """What is noted; where nothing is, 1 if there are rows, else 0. Those of whoever has noted something meanwhile
        are none of these."""
        noted = await self._server.ask("GET", self._noted)
        if noted is not None:
            return int(noted)
        async for keys in self._pages():
            if keys:
                return int(await self._server.ask("GET", self._noted) or 1)
        return 0

    async def prepare(self) -> None:
        """Note the schema where there are no rows yet; raises StoreMisconfigured where they have another one."""
        version = await self.version()
        if version not in (0, SCHEMA_VERSION):
            name = self._server.name
            raise other_schema(f"The barrier in Redis at {name}", version, SCHEMA_VERSION, f"--database {name}")
        if version == 0:
            await self._server.ask("SET", self._noted, SCHEMA_VERSION, "NX")

    async def upgrade(self, carry: Carry) -> int:
        """Carry each row over; what an interrupted upgrade has done is met again as it is now."""
        version, count = await self.version(), 0
        if version not in (1, 2):
            await self.prepare()
            return 0
        if version == 1:
            count = await self._carry_over(carry)
        async for keys in self._pages():
            aged = [row for row in await self._read(keys) if row is not None]
            await self._server.talk([command for row in aged for command in self._grown_old(row)] or [("PING",)])
            count += len(aged) if version == 2 else 0
        await self._server.ask("SET", self._noted, SCHEMA_VERSION)
        return count

    async def _carry_over(self, carry: Carry) -> int:
        """Rows of version 1 under the keys of now; says how many keys have changed."""
        count = 0
        async for keys in self._pages():
            for row in await self._read(keys):
                if row is None or (kept := list(carry(row))) == [row.key]:
                    continue
                await self._server.run(_CARRY, [_CARRY.call([self._noted], self._prefix, row.key, *kept)])
                count += 1
        return count

    def _grown_old(self, row: Row) -> list[RedisCommand]:
        """What lets a row grow old from now on, if it may. What was done before an interruption is not done again."""
        aged = grown_old(row, now())
        if aged is None:
            return []
        stored = to_stored(aged, fresh_id())
        index: list[RedisCommand] = [("ZREM", f"{self._prefix}prune", row.key), *aging(self._prefix, aged)]
        return [*index, ("SET", f"{self._prefix}row:{row.key}", stored)]

    async def _read(self, keys: Sequence[str]) -> list[Row | None]:
        if not keys:
            return []
        stored = await self._server.ask("MGET", *(f"{self._prefix}row:{key}" for key in keys))
        return [readable(key, one) for key, one in zip(keys, stored, strict=True)]

    async def _pages(self) -> AsyncIterator[list[str]]:
        """Keys of rows."""
        start = f"{self._prefix}row:"
        async for names in self._server.names(start):
            yield [name.removeprefix(start) for name in names]

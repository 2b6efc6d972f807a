"""The layout of the Redis store, which a key of its own says, and the way up from the first one, which had none."""

from collections import Counter

from choros.sources import fresh_identity
from choros.store.redis.server import Script, Server
from choros.store.sagas import ENDED, LIVE
from choros.store.schema import SCHEMA_VERSION, Upgraded, other_schema

# The first layout had an outbox for each saga version; records need no change, for what they lack is empty.
_MERGE = Script("""
redis.call('ZUNIONSTORE', KEYS[1], 2, KEYS[1], KEYS[2], 'AGGREGATE', 'MAX')
redis.call('DEL', KEYS[2])
return 1
""")
_AT_ONCE = 64
_ORDER = Script("""
for i = 2, #ARGV do
    local readable, head = pcall(cjson.decode, redis.call('HGET', ARGV[1] .. 'saga:' .. ARGV[i], 'head') or '')
    readable = readable and type(head) == 'table' and type(head[8]) == 'number'
    local at = readable and string.format('%.17g', head[8])
    redis.call('ZADD', KEYS[1], at or redis.call('ZSCORE', KEYS[2], ARGV[i]), ARGV[i])
end
return 1
""")


async def prepare(server: Server, prefix: str) -> None:
    """Note the layout where nothing is stored yet; refuse another one."""
    version = await version_of(server, prefix)
    if not version:
        await server.ask("SET", f"{prefix}schema", SCHEMA_VERSION, "NX")
        version = await version_of(server, prefix)
    if version != SCHEMA_VERSION:
        raise other_schema(f"The saga store in Redis at {server.name}", version, SCHEMA_VERSION, "--store redis://...")


async def identity_of(server: Server, prefix: str) -> str:
    """What tells what is stored here from every other store; made where there is none yet."""
    await server.ask("SET", f"{prefix}identity", fresh_identity(), "NX")
    return str(await server.ask("GET", f"{prefix}identity"))


async def version_of(server: Server, prefix: str) -> int:
    """The layout of what is there; 0 for nothing. The first one had no such key: it is asked for last, as another
    process may be the first to note it, and to store something, between the two."""
    records, noted = await server.talk([("EXISTS", f"{prefix}counts"), ("GET", f"{prefix}schema")])
    return int(server.checked(noted) or server.checked(records))


async def upgrade(server: Server, prefix: str) -> Upgraded:
    """Lay out anew what is there. Each step is whole or not at all; interrupted, it goes on where it was."""
    found = await version_of(server, prefix)
    if found not in (1, 2):
        await prepare(server, prefix)
        return Upgraded(found)
    if found == 1:
        await _merge_outboxes(server, prefix)
        await _count_live(server, prefix)
    await _order_ended(server, prefix)
    counts = await server.ask("HVALS", f"{prefix}counts")
    await server.ask("SET", f"{prefix}schema", SCHEMA_VERSION)
    return Upgraded(found, sum(map(int, counts)))


async def _merge_outboxes(server: Server, prefix: str) -> None:
    for channel in ("commands", "facts"):
        merged = f"{prefix}unsent:{channel}"
        calls = [_MERGE.call([merged, old]) for old in await _keys(server, f"{merged}:")]
        if calls:
            await server.run(_MERGE, calls)


async def _order_ended(server: Server, prefix: str) -> None:
    """Schema version 2 did not know in which order sagas had ended."""
    for group in await _keys(server, f"{prefix}started:"):
        if group.rpartition("/")[2] not in ENDED:
            continue
        ids = await server.ask("ZRANGE", group, 0, -1)
        chunks = [ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE)]
        calls = [_ORDER.call([f"{prefix}ended", group], prefix, *chunk) for chunk in chunks]
        if calls:
            await server.run(_ORDER, calls)


async def _count_live(server: Server, prefix: str) -> None:
    """The first layout did not count what has not ended, by kind."""
    live: Counter[str] = Counter()
    for group in await _keys(server, f"{prefix}started:"):
        if group.rpartition("/")[2] in LIVE:
            ids = await server.ask("ZRANGE", group, 0, -1)
            kinds = await server.talk([("HGET", f"{prefix}saga:{saga_id}", "kind") for saga_id in ids])
            live.update(kind for kind in map(server.checked, kinds) if kind is not None)
    await server.ask("DEL", f"{prefix}live")  # an old process may have been at work since an upgrade was interrupted
    for kind, count in live.items():
        await server.ask("HSET", f"{prefix}live", kind, count)


async def _keys(server: Server, start: str) -> list[str]:
    return sorted({key async for keys in server.names(start) for key in keys})

"""The layout of the Redis store, by a key that says which one it is."""

from __future__ import annotations

from choros.store.redis_server import Server
from choros.store.schema import other_schema

SCHEMA_VERSION = 2


async def prepare(server: Server, prefix: str) -> None:
    """Note the layout where nothing is stored yet; refuse another one."""
    version = await version_of(server, prefix)
    if not version:
        await server.ask("SET", f"{prefix}schema", SCHEMA_VERSION, "NX")
        version = await version_of(server, prefix)
    if version != SCHEMA_VERSION:
        raise other_schema(f"The saga store in Redis at {server.name}", version, SCHEMA_VERSION, "--store redis://...")


async def version_of(server: Server, prefix: str) -> int:
    """The layout of what is there; 0 for nothing. The first one had no such key."""
    noted, records = await server.talk([("GET", f"{prefix}schema"), ("EXISTS", f"{prefix}counts")])
    return int(server.checked(noted) or server.checked(records))

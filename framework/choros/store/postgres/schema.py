"""Whether the tables of the saga store are there as they shall be; where there are none, they are created."""

from __future__ import annotations

from choros.errors import StoreMisconfigured
from choros.store.postgres.errors import state_of
from choros.store.postgres.server import PostgresLink, PostgresServer
from choros.store.postgres.tables import TABLES
from choros.store.schema import SCHEMA_VERSION, Upgraded, other_schema

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('choros.store'))"
"""Two processes that start first at once would each find that a table is there and is not."""
_THERE = "SELECT to_regclass($1) IS NOT NULL"
_STORE = "SELECT version, identity FROM @store"


async def version_of(server: PostgresServer) -> int:
    """How what is stored is laid out, 0 where nothing is."""
    ((there,),) = await server.ask(_THERE, server.said("@store"))
    return int((await server.ask(_STORE))[0][0]) if there else 0


async def identity_of(server: PostgresServer) -> str:
    """What tells this store from every other one."""
    return str((await server.ask(_STORE))[0][1])


async def prepare(server: PostgresServer) -> None:
    """Create the tables where there are none; refuse those of another version. Where they are there, nothing needs
    the right to create any."""
    version = await version_of(server)
    if not version:
        await _create(server)
        version = await version_of(server)
    if version != SCHEMA_VERSION:
        raise other_schema(f"The saga store at {server.name}", version, SCHEMA_VERSION, "--store postgresql://...")


async def _create(server: PostgresServer) -> None:
    async def create(link: PostgresLink) -> None:
        await link.execute(_LOCK)
        for statement in TABLES:
            await link.execute(server.said(statement))

    try:
        await server.in_transaction(create)
    except StoreMisconfigured as error:
        if state_of(error.__cause__) != "42501":
            raise
        raise StoreMisconfigured(
            f"There is no saga store at {server.name}, and this user may not create its tables.",
            "choros schema print postgresql --for store, and let somebody apply it who may.",
        ) from None


async def upgrade(server: PostgresServer) -> Upgraded:
    """There is no older layout yet: it creates what is not there."""
    found = await version_of(server)
    await prepare(server)
    return Upgraded(found)

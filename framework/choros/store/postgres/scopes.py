"""Whose sagas a database holds, for who looks without having the application."""

from collections.abc import Sequence

from choros.store.postgres.schema import version_of
from choros.store.postgres.server import PostgresServer

_SCOPES = "SELECT scope FROM @tally GROUP BY scope HAVING sum(count) > 0 ORDER BY scope"


async def scopes_at(url: str) -> Sequence[str]:
    """The "namespace.application" of each."""
    server = PostgresServer(url, 1, 5.0)
    try:
        return [scope for (scope,) in await server.ask(_SCOPES)] if await version_of(server) else []
    finally:
        await server.close()

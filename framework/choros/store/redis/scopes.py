"""Whose sagas a server holds, for who looks without having the application."""

from collections.abc import Sequence

from choros.store.redis.server import Server


async def scopes_on(url: str) -> Sequence[str]:
    """The "namespace.application" of each. It looks at every key's name, a thousand at a time; the server is asked
    nothing else."""
    server = Server(url, 1, 5.0)
    try:
        found = {name async for names in server.names("{", "}:counts") for name in names}
    finally:
        await server.close()
    return sorted(name.removeprefix("{").removesuffix("}:counts") for name in found)

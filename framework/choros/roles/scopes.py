"""Whose sagas a store holds: "namespace.application" for each, for who looks without having the application."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from choros.errors import StoreMisconfigured


async def in_file(path: str) -> Sequence[str]:
    """Those in a SQLite file; raises StoreMisconfigured where it is none of this layout."""
    return await asyncio.to_thread(_in_file, Path(path))


def _in_file(path: Path) -> Sequence[str]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT DISTINCT scope FROM tally WHERE count > 0 ORDER BY scope").fetchall()
    except sqlite3.Error:
        raise StoreMisconfigured(
            f"{path} does not say whose sagas it holds.", "name APP; choros schema show APP says how it is laid out."
        ) from None
    return [scope for (scope,) in rows]


async def on_redis(url: str) -> Sequence[str]:
    """Those on a Redis server. It looks at every key's name, a thousand at a time; the server is asked nothing else."""
    from choros.store.redis.server import Server

    server = Server(url, 1, 5.0)
    try:
        found = {name async for names in server.names("{", "}:counts") for name in names}
    finally:
        await server.close()
    return sorted(name.removeprefix("{").removesuffix("}:counts") for name in found)

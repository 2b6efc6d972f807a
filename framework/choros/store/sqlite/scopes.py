"""Whose sagas a file holds, for who looks without having the application."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from choros.errors import StoreMisconfigured


async def scopes_in(path: str) -> Sequence[str]:
    """The "namespace.application" of each; raises StoreMisconfigured where the file is none of this layout."""
    return await asyncio.to_thread(_scopes, Path(path))


def _scopes(path: Path) -> Sequence[str]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT DISTINCT scope FROM tally WHERE count > 0 ORDER BY scope").fetchall()
    except sqlite3.Error:
        raise StoreMisconfigured(
            f"{path} does not say whose sagas it holds.", "name APP; choros schema show APP says how it is laid out."
        ) from None
    return [scope for (scope,) in rows]

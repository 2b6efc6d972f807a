"""Noticing that the broker has stopped reading what we publish (memory or disk alarm)."""

import asyncio
from collections.abc import Callable

from aiormq.abc import AbstractConnection

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 0.05


class BlockedWatch:
    """Knows whether publishing is blocked, and tells when that changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.blocked = False
        """As of the last look."""
        self._changed = changed

    async def serve(self, connection: AbstractConnection) -> None:
        """Look once in a while."""
        try:
            while True:
                self._note(await _is_blocked(connection))
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self.blocked = False  # whether the next connection is, shows when something is published on it

    def _note(self, blocked: bool) -> None:
        if blocked is not self.blocked:
            self.blocked = blocked
            self._changed()


async def _is_blocked(connection: AbstractConnection) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await connection.ready()
    except TimeoutError:
        return True
    return False

"""Noticing that the broker has stopped reading what we publish (memory or disk alarm)."""

from __future__ import annotations

import asyncio

import structlog
from aiormq.abc import AbstractConnection

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 0.05

_log = structlog.get_logger(__name__)


class BlockedWatch:
    """Says in the log when publishing is blocked, and when it is not any more."""

    def __init__(self) -> None:
        self.blocked = False
        """As of the last look."""

    async def serve(self, connection: AbstractConnection) -> None:
        """Look once in a while."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            blocked = await _is_blocked(connection)
            if blocked is not self.blocked:
                self.blocked = blocked
                _log.warning("broker.blocked" if blocked else "broker.unblocked")


async def _is_blocked(connection: AbstractConnection) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await connection.ready()
    except TimeoutError:
        return True
    return False

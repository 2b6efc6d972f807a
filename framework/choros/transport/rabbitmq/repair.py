"""What comes back because nothing is bound: is everything there that should be?

The exchanges of each lead to those of all. Where one of these was deleted, and even declared again by somebody else, no
channel is closed by it: what is published just comes back, and a fact that comes back counts as sent."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from aiormq.abc import AbstractConnection

from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.rabbitmq.tasks import asked_for

EVERY_SECONDS = 60.0
"""Between two looks: where nobody is bound, everything comes back."""


class Mending:
    """Declares again what may be gone, once in a while."""

    def __init__(self, restore: Callable[[AbstractConnection], Awaitable[bool]], patience: float) -> None:
        self.whole = True
        """Whether all was there, or is again, at the last look."""
        self._restore = restore
        self._patience = patience
        self._looked = -math.inf
        self._one_at_a_time = asyncio.Lock()

    async def look(self, connection: AbstractConnection | None, since: float) -> bool:
        """Whether there was a look since that moment of the loop, after which it may go better."""
        async with self._one_at_a_time:
            if self._looked < since and connection is not None and self._due():
                self.whole = await self._restored(connection)
                self._looked = asyncio.get_running_loop().time()
        return self._looked >= since

    def _due(self) -> bool:
        return not self.whole or asyncio.get_running_loop().time() - self._looked > EVERY_SECONDS

    async def _restored(self, connection: AbstractConnection) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                with asked_for():
                    return await self._restore(connection)
        except CONNECTION_FAILURES:
            return False

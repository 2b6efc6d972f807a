"""Leaving a node that is cut off from its cluster, where the address names others.

Such a node goes on with its clients' connections and answers them, but confirms nothing: up to RabbitMQ 4.1
`pause_minority` made it close them, from 4.2 on (Khepri) nothing does. To a process all destinations are then silent.
One that is silent while others confirm is the fault of a queue, and no reason to go anywhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from aiormq.abc import AbstractConnection

LEAVE_SECONDS = 10.0
"""A node whose every destination has been silent for so long is left; an election takes less."""
_LONGEST_SECONDS = 320.0
"""Leaving has helped nothing, if the next node is as silent: each time one waits twice as long, up to this."""
_LOOK_SECONDS = 1.0


class Publishing(Protocol):
    """What publishes on the same connection."""

    confirmed: int
    """How often something was confirmed."""

    @property
    def silent(self) -> bool:
        """Whether a destination leaves something unanswered."""


class StrandedWatch:
    """Looks whether anything is confirmed on a connection, and leaves where nothing is."""

    def __init__(self, lanes: Sequence[Publishing], leave: Callable[[], None]) -> None:
        self._lanes = lanes
        self._leave = leave
        self._patience = LEAVE_SECONDS

    async def serve(self, connection: AbstractConnection) -> None:
        """Look once in a while, until it is cancelled with the connection."""
        since, confirmed, loop = None, self._confirmed, asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if confirmed != self._confirmed:
                self._patience = LEAVE_SECONDS
            if confirmed != self._confirmed or not self._silent:
                since, confirmed = None, self._confirmed
            elif since is None:
                since = loop.time()
            elif loop.time() - since >= self._patience:
                since, self._patience = None, min(2 * self._patience, _LONGEST_SECONDS)
                self._leave()

    @property
    def _confirmed(self) -> int:
        return sum(lane.confirmed for lane in self._lanes)

    @property
    def _silent(self) -> bool:
        return any(lane.silent for lane in self._lanes)

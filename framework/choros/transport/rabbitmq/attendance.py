"""Asking who consumes a queue: a passive declaration, which changes nothing and needs no right to configure."""

import asyncio

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from choros.transport.port import Seen
from choros.transport.rabbitmq.declarations import seen_on
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.rabbitmq.tasks import asked_for

PATIENCE = 5.0
"""Seconds for an answer."""


class Attendance:
    """One question at a time, on a channel that is kept: the client leaks a little with every channel."""

    def __init__(self) -> None:
        self._channel: AbstractChannel | None = None
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, connection: AbstractConnection | None, queue: str) -> Seen:
        """How it is, as far as the broker says."""
        if connection is None:
            return Seen("untold")
        async with self._one_at_a_time:
            try:
                with asked_for():
                    return await seen_on(await self._open(connection), queue, PATIENCE)
            except ChannelNotFoundEntity as failure:  # of a quorum queue without a leader it says so, too
                return Seen("missing" if "no queue" in str(failure) else "silent")
            except ChannelAccessRefused:
                return Seen("untold")
            except TimeoutError:
                return Seen("silent")
            except CONNECTION_FAILURES:
                return Seen("untold")

    async def _open(self, connection: AbstractConnection) -> AbstractChannel:
        if self._channel is None or self._channel.is_closed or self._channel.connection is not connection:
            self._channel = await connection.channel(publisher_confirms=False, timeout=PATIENCE)
        return self._channel

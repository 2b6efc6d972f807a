"""The simulated broker as aiormq reaches it."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiormq import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from choros_verify.simulation.amqp.connection import AmqpConnection
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.pipe import Pipe, Pipes

FRAME_MAX = 131072


class AmqpServer:
    """Takes connections for a simulated broker."""

    def __init__(self, broker: SimBroker, pipes: Pipes, frame_max: int = FRAME_MAX) -> None:
        self._broker, self._pipes, self._frame_max = broker, pipes, frame_max

    def opening(self, process: str) -> TransportFactory:
        """How this process connects."""
        return SimOpening(self._pipes, process, self._listen)

    def _listen(self, pipe: Pipe) -> AmqpConnection:
        if self._broker.away:
            raise ConnectionRefusedError("the simulated broker is away")
        return AmqpConnection(self._broker, pipe, self._frame_max)


class SimOpening(TransportFactory):
    """Gives aiormq a pipe instead of a socket."""

    def __init__(self, pipes: Pipes, process: str, listen: Callable[[Pipe], AmqpConnection]) -> None:
        self._pipes, self._process, self._listen = pipes, process, listen

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by aiormq."""
        try:
            reader, writer = await self._pipes.open(self._process, self._listen)
        except OSError as failure:
            raise AMQPConnectionError(*failure.args) from failure
        return reader, cast(asyncio.StreamWriter, writer)

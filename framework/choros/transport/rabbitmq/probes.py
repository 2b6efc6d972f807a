"""Asking the broker every heartbeat whether it is still there, and whether it takes what we publish.

A half-open connection says nothing, and RabbitMQ tells only those who publish that it is blocked: a process at rest
would learn of neither. So the publishing connection sends a *probe*, an empty message to `<ns>.retry.probe`, to which
nothing is bound: it ends nowhere, and confirm and return come at once. Where this user may not write there, or it does
not exist yet, the refusal is an answer as well: it closes only the channel of the probe. The consuming connection is
asked by `basic.qos`, which needs no permission.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPChannelError, ChannelInvalidStateError

from choros.telemetry.logs import get_logger

PROBE_KEY = "probe"
"""Says what it is, to whoever traces messages."""
Question = Callable[[AbstractChannel, float], Awaitable[object]]
"""A question to the broker, and how many seconds it may take."""

_log = get_logger(__name__)


def by_publishing(exchange: str) -> Question:
    """Publish a probe, and wait for its confirm."""

    async def ask(channel: AbstractChannel, patience: float) -> object:
        return await channel.basic_publish(
            b"", exchange=exchange, routing_key=PROBE_KEY, mandatory=True, timeout=patience
        )

    return ask


async def by_asking(channel: AbstractChannel, patience: float) -> object:
    """Ask something harmless."""
    return await channel.basic_qos(prefetch_count=1, timeout=patience)


class Probe:
    """Asks once every heartbeat; raises TimeoutError, which costs the connection, if there is no answer in time."""

    def __init__(self, ask: Question, heartbeat: float, is_blocked: Callable[[], bool] = lambda: False) -> None:
        self._ask = ask
        self._every = heartbeat
        self._patience = heartbeat + 1.0
        self._is_blocked = is_blocked
        self._channel: AbstractChannel | None = None

    async def serve(self, connection: AbstractConnection) -> None:
        """Ask on this connection until cancelled."""
        self._channel = None
        while True:
            await asyncio.sleep(self._every)
            if self._is_blocked():
                self._wait_for_frames(connection)
            else:
                await self._look(connection)

    async def _look(self, connection: AbstractConnection) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._ask(await self._open(connection), self._patience)
        except TimeoutError:
            if not self._is_blocked():
                _log.warning("choros.broker.silent", seconds=self._patience)
                raise
        except (AMQPChannelError, ChannelInvalidStateError):
            self._channel = None  # an answer too: only this channel is gone, or the connection, which its link notices

    async def _open(self, connection: AbstractConnection) -> AbstractChannel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await connection.channel(on_return_raises=False, timeout=self._patience)
        return self._channel

    def _wait_for_frames(self, connection: AbstractConnection) -> None:
        """A blocked broker reads nothing, but still sends its heartbeats; the client counts them."""
        if getattr(connection, "is_connection_was_stuck", False):
            raise TimeoutError("no heartbeat")

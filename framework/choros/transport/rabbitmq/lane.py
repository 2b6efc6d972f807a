"""A lane: publishes of one kind, each destination on a channel of its own, so that none can stop another."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from aiormq import Channel
from aiormq.abc import AbstractConnection

from choros.transport.rabbitmq.declarations import RPC_SECONDS, close_channel
from choros.transport.rabbitmq.tasks import asked_for, end
from choros.transport.rabbitmq.way import AmqpTicket, Way
from choros.transport.sender import Sender
from choros.transport.sending import Destination

CHANNELS = 64
"""Channels that are kept open; past that, one at rest is closed for each that is opened."""


class Lane(Sender[AmqpTicket]):
    """Publishes on whatever connection it is served with."""

    def __init__(
        self,
        name: str,
        repair: Callable[[AbstractConnection], Awaitable[object]],
        *,
        doubted: Callable[[str, bool], None] = lambda destination, doubted: None,
        may_doubt: Callable[[], bool] = lambda: True,
        denied: Callable[[BaseException], None] = lambda failure: None,
        detour: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(AmqpTicket, doubted, may_doubt, detour)
        self.name = name
        self.denied = denied
        """Told that this user may not write to a destination."""
        self.repair = repair
        """Creates again what may be gone."""
        self._at_work: dict[Destination[AmqpTicket], tuple[Way, asyncio.Task[None]]] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self._connection: AbstractConnection | None = None
        self._failed: asyncio.Future[None] | None = None

    async def serve(self, connection: AbstractConnection) -> None:
        """Publish on this connection until cancelled, or until a channel cannot be had."""
        self._connection, self._failed = connection, asyncio.get_running_loop().create_future()
        for there in list(self.sending.destinations.values()):
            self._ready(there)
        try:
            await self._failed
        finally:
            self._connection = None
            try:
                await end([*(task for _, task in self._at_work.values()), *self._closings])
            finally:  # the link may cancel us right here
                self.lose_all()

    def part(self, channel: Channel, deaf: Callable[[], None]) -> None:
        """Close a channel that is no longer used; the broker may take a minute for it."""
        closing = asyncio.create_task(close_channel(channel, RPC_SECONDS))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
        closing.add_done_callback(lambda _: deaf())

    # --- channels ---

    def _ready(self, there: Destination[AmqpTicket]) -> None:
        at_work = self._at_work.get(there)
        if at_work is not None:
            at_work[0].wake()
        elif there.waiting and self._connection is not None:
            self._house(there, self._connection)

    def _house(self, there: Destination[AmqpTicket], connection: AbstractConnection) -> None:
        if len(self._at_work) >= CHANNELS:
            self._retire_one()
        way = Way(there, self)
        task = asyncio.create_task(self._work(way, connection))
        self._at_work[there] = way, task
        task.add_done_callback(partial(self._rest, there))

    def _retire_one(self) -> None:
        idle = next((way for way, _ in self._at_work.values() if way.there.idle), None)
        if idle is not None:
            idle.retire()

    async def _work(self, way: Way, connection: AbstractConnection) -> None:
        with asked_for():
            await way.serve(connection)

    def _rest(self, there: Destination[AmqpTicket], task: asyncio.Task[None]) -> None:
        del self._at_work[there]
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(failure)
        elif there.waiting:
            self._ready(there)
        else:
            self.sending.rest(there)

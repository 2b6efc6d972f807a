"""A lane: publishes of one kind, each destination on a channel of its own, so that none can stop another."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiormq import Channel
from aiormq.abc import AbstractConnection

from choros.transport.port import Published
from choros.transport.rabbitmq.declarations import RPC_SECONDS, close_channel
from choros.transport.rabbitmq.sending import Batch, Post, Sender
from choros.transport.rabbitmq.tasks import asked_for, end
from choros.transport.rabbitmq.way import AmqpTicket, Way
from choros.wire.envelope import Envelope

CHANNELS = 64
"""Channels that are kept open; past that, one at rest is closed for each that is opened."""


class Lane(Sender[AmqpTicket]):
    """Publishes on whatever connection it is served with.

    With a `detour`, which names for an exchange another one that leads to the same places, what a destination leaves
    unanswered is also sent there, once and without waiting: it stays unknown, and is published again.
    """

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
        super().__init__()
        self.name = name
        self.confirmed = 0
        """How often a destination has confirmed something."""
        self._repair = repair
        self._doubted = doubted
        self._may_doubt = may_doubt
        self._denied = denied
        self._detour = detour
        self._detours: set[str] = set()
        self._ways: dict[tuple[str, str], Way] = {}
        self._at_work: dict[Way, asyncio.Task[None]] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self._connection: AbstractConnection | None = None
        self._failed: asyncio.Future[None] | None = None
        self._closed = False

    async def serve(self, connection: AbstractConnection) -> None:
        """Publish on this connection until cancelled, or until a channel cannot be had."""
        self._connection, self._failed = connection, asyncio.get_running_loop().create_future()
        for way in self._ways.values():
            if way.waiting:
                self._house(way)
        try:
            await self._failed
        finally:
            self._connection = None
            try:
                await end([*self._at_work.values(), *self._closings])
            finally:  # the link may cancel us right here
                for way in self._ways.values():
                    way.give_up()

    @property
    def silent(self) -> bool:
        """Whether a destination leaves a probe unanswered."""
        return any(way.doubt.refuses for way in self._ways.values())

    def close(self) -> None:
        """Answer all who still wait: unknown."""
        self._closed = True
        for way in list(self._ways.values()):
            way.close()

    # --- what a way tells ---

    def settle(self, ticket: AmqpTicket, published: Published) -> None:
        """Note the answer, and let the next of the same order go."""
        self.confirmed += published is Published.CONFIRMED and not ticket.settled
        super().settle(ticket, published)

    def doubted(self, way: Way, doubted: bool) -> None:
        way.sent_past.clear()
        self._doubted(way.name, doubted)

    def denied(self, failure: BaseException) -> None:
        """This user may not write to a destination."""
        self._denied(failure)

    def part(self, channel: Channel) -> None:
        """Close a channel that is no longer used; the broker may take a minute for it."""
        closing = asyncio.create_task(close_channel(channel, RPC_SECONDS))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    async def repair(self, connection: AbstractConnection) -> None:
        await self._repair(connection)

    # --- destinations ---

    def _ticket(self, post: Post, batch: Batch[AmqpTicket], position: int) -> AmqpTicket:
        return AmqpTicket(post, batch, position)

    def _put(self, ticket: AmqpTicket) -> None:
        ticket.queued = True
        way = self._way(ticket.post)
        if self._closed or ticket.batch.done.done() or way.doubt.refuses:
            way.stir()
            self.refuse(ticket)
        else:
            way.put(ticket)
            self._house(way)

    def _way(self, post: Post) -> Way:
        destination = post.exchange, post.key
        if destination not in self._ways:
            self._ways[destination] = Way(":".join(destination), self)
        return self._ways[destination]

    def _give_up_on(self, batch: Batch[AmqpTicket], late: Sequence[AmqpTicket]) -> None:
        for way in dict.fromkeys(self._way(ticket.post) for ticket in late):
            way.forget(batch)
            if self._may_doubt():
                way.look_for_late(batch.patience)

    def _settle_refused(self, ticket: AmqpTicket) -> None:
        """It goes by the detour, if there is one."""
        self._send_past(ticket)
        super()._settle_refused(ticket)

    def _send_past(self, ticket: AmqpTicket) -> None:
        """Whoever else is bound shall hear of it now; a receiver knows it again when it is published again."""
        exchange, key, message, _ = ticket.post
        way = self._way(ticket.post)
        if self._detour is None or exchange in self._detours or not way.doubt.held:
            return
        if isinstance(message, Envelope) and message.id not in way.sent_past:
            way.sent_past.add(message.id)
            self._detours.add(detour := self._detour(exchange))
            (past,) = Batch([Post(detour, key, message)], 0, AmqpTicket).tickets
            self._put(past)

    # --- channels ---

    def _house(self, way: Way) -> None:
        if self._connection is None or way in self._at_work:
            return
        if len(self._at_work) >= CHANNELS:
            self._retire_one()
        task = asyncio.create_task(self._work(way, self._connection))
        self._at_work[way] = task
        task.add_done_callback(partial(self._rest, way))

    def _retire_one(self) -> None:
        idle = next((way for way in self._at_work if way.idle), None)
        if idle is not None:
            idle.retire()

    async def _work(self, way: Way, connection: AbstractConnection) -> None:
        with asked_for():
            await way.serve(connection)

    def _rest(self, way: Way, task: asyncio.Task[None]) -> None:
        del self._at_work[way]
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(failure)
        elif way.waiting:
            self._house(way)
        elif way.idle and not way.doubt.held:
            self._ways = {place: one for place, one in self._ways.items() if one is not way}

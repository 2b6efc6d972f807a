"""Looking into a queue: by consumers that settle nothing, one after the other on one channel.

Each is sent a window of messages, and cancelled when the next is opened, so that no more than a window is in memory. A
`basic.get` for each message would cost a trip through the log of its quorum queue (8 ms on a busy machine)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from choros.errors import BrokerUnreachable
from choros.transport.leased import LeasedDelivery
from choros.transport.rabbitmq.declaring import RPC_SECONDS, SILENT_SECONDS
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.rabbitmq.frames import received
from choros.transport.rabbitmq.lease import CopyTo, RabbitLease
from choros.transport.rabbitmq.tasks import end
from choros.transport.refusals import NotDeclared, denied
from choros.transport.topology import Names

FIRST_WINDOW, LARGEST_WINDOW = 16, 500
WINDOW_BYTES = 8 * 1024 * 1024
"""A window holds about so much, as far as the one before it tells."""
_QUIET_SECONDS = 0.2
_QUIET_LOOKS = 2
"""Nothing comes, and the broker says so often that nothing waits: somebody else has what was counted."""
_RETURN_SECONDS = 0.1
_BACK_AT_ONCE = 30
"""Of more than 32 that are given back by one frame RabbitMQ keeps no order (seen with 3.10: they are a map to it)."""
T = TypeVar("T")


class RabbitLook:
    """A walk through a queue that takes nothing out."""

    def __init__(self, lease: RabbitLease) -> None:
        self._lease = lease
        self._inbox: deque[LeasedDelivery] = deque()
        self._arrived = asyncio.Event()
        self._left: int | None = None
        self._window, self._room, self._bytes = FIRST_WINDOW, 0, 0
        self._consumer = ""
        self._last_tag = 0
        self._ends: list[int] = []
        """The last tag of each window: windows go back one by one."""
        self._writer = asyncio.create_task(lease.write())
        lease.channel.closing.add_done_callback(lambda _: self._over())

    @staticmethod
    async def begin(
        connection: AbstractConnection | None, queue: str, names: Names, copy_to: CopyTo, patience: float = RPC_SECONDS
    ) -> RabbitLook:
        """On a channel of its own; raises BrokerUnreachable."""
        if connection is None:
            raise _away()
        try:
            channel = await connection.channel(publisher_confirms=False, timeout=patience)
        except CONNECTION_FAILURES as failure:
            raise _away() from failure
        return RabbitLook(RabbitLease(channel, queue, names, copy_to, patience))

    async def take(self) -> LeasedDelivery | None:
        """The next; None behind what was there at first."""
        if not self._consumer:
            self._left = await self._asked(self._count_at_first())
        if self._left == 0 or not await self._arrival():
            return None
        self._left = None if self._left is None else self._left - 1
        return self._inbox.popleft()

    async def close(self) -> None:
        """Give all back, as if nobody had looked."""
        await self._lease.flush()
        if self._consumer and self._lease.alive:
            with suppress(*CONNECTION_FAILURES):
                await self._lease.channel.basic_cancel(self._consumer, timeout=RPC_SECONDS)
        for tag in sorted({*self._ends, *range(_BACK_AT_ONCE, self._last_tag, _BACK_AT_ONCE), self._last_tag}):
            self._lease.give_back_up_to(tag)
        await self._lease.flush()
        self._over()
        await end({self._writer})
        await self._lease.close()

    async def _arrival(self) -> bool:
        """Whether there is one more, in the end."""
        quiet = 0
        while not self._inbox and quiet < _QUIET_LOOKS:
            if not self._room:
                await self._asked(self._open_window())
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_SECONDS):
                    await self._arrived.wait()
            if not self._inbox:
                quiet = 0 if await self._asked(self._count()) else quiet + 1
        return bool(self._inbox)

    async def _count_at_first(self) -> int | None:
        """What somebody has just given back may not be there yet."""
        count = await self._count()
        if count == 0:
            await asyncio.sleep(_RETURN_SECONDS)
            count = await self._count()
        return count

    async def _count(self) -> int | None:
        """How many are waiting; None where nothing may only mean that the queue did not answer."""
        began = asyncio.get_running_loop().time()
        queue = self._lease.queue
        declared = await self._lease.channel.queue_declare(queue, passive=True, timeout=RPC_SECONDS)
        at_once = asyncio.get_running_loop().time() - began < SILENT_SECONDS
        return declared.message_count or (0 if at_once else None)

    async def _open_window(self) -> None:
        channel = self._lease.channel
        if self._consumer:
            await channel.basic_cancel(self._consumer, timeout=RPC_SECONDS)
            self._ends.append(self._last_tag)
            each = max(1, self._bytes // self._window)
            self._window = max(1, min(LARGEST_WINDOW, 4 * self._window, WINDOW_BYTES // each))
        self._room, self._bytes = self._window, 0
        await channel.basic_qos(prefetch_count=self._window, timeout=RPC_SECONDS)
        started = await channel.basic_consume(self._lease.queue, self._take, timeout=RPC_SECONDS)
        self._consumer = started.consumer_tag or ""

    async def _take(self, message: DeliveredMessage) -> None:
        self._last_tag = message.delivery_tag or 0
        self._room -= 1
        self._bytes += len(message.body)
        self._inbox.append(LeasedDelivery(self._lease, self._last_tag, received(message), message.exchange or ""))
        self._arrived.set()

    async def _asked(self, asking: Awaitable[T]) -> T:
        queue = self._lease.queue
        try:
            return await asking
        except ChannelNotFoundEntity as failure:
            raise NotDeclared(f"The queue '{queue}' does not exist.", "choros topology apply APP.") from failure
        except ChannelAccessRefused as failure:
            raise denied(failure, "read") from failure
        except CONNECTION_FAILURES as failure:
            raise _away() from failure

    def _over(self) -> None:
        self._lease.alive = False


def _away() -> BrokerUnreachable:
    return BrokerUnreachable("The connection to the broker is lost.", "the same again: nothing was taken out unheard.")

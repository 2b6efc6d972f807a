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
from choros.transport.leased import CopyTo, LeasedDelivery
from choros.transport.port import NotDeclared
from choros.transport.rabbitmq.declarations import RPC_SECONDS, seen_on
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.rabbitmq.frames import unsealed
from choros.transport.rabbitmq.lease import RabbitLease
from choros.transport.rabbitmq.refusals import denied
from choros.transport.rabbitmq.tasks import asked_for, end
from choros.transport.topology import Names

FIRST_WINDOW, LARGEST_WINDOW = 4, 500
WINDOW_BYTES = 8 * 1024 * 1024
"""A window holds about so much, as far as the one before it tells."""
_QUIET_SECONDS = 0.2
_QUIET_LOOKS = 2
"""Nothing comes, and the broker says so often that nothing waits: somebody else has what was counted."""
_RETURN_SECONDS = 0.1
_BACK_AT_ONCE, _FRAMES_AT_ONCE = 30, 8
_BACK_SECONDS, _BACK_LOOKS = 0.002, 100
T = TypeVar("T")


class LookLease(RabbitLease):
    """What a walk has shown: what is acknowledged is settled, the rest goes back when the walk is over."""

    windows: list[set[int]]
    """Tags of what is unsettled of each; the last is open, and what is acknowledged makes room for more in it."""

    def acknowledge(self, tag: int) -> None:
        """Tell the broker to forget it."""
        for window in self.windows:
            window.discard(tag)
        super().acknowledge(tag)

    def give_back(self, tag: int) -> None:
        """Not yet."""

    give_back_unread = give_back


class RabbitLook:
    """A walk through a queue that takes nothing out."""

    def __init__(self, lease: LookLease) -> None:
        self._lease = lease
        self._inbox: deque[LeasedDelivery] = deque()
        self._arrived = asyncio.Event()
        self._left: int | None = None
        self._room, self._bytes, self._handed = FIRST_WINDOW, 0, 0
        self._windows = lease.windows = []
        self._consumer = ""
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
            with asked_for():
                channel = await connection.channel(publisher_confirms=False, timeout=patience)
        except CONNECTION_FAILURES as failure:
            raise _away() from failure
        return RabbitLook(LookLease(channel, queue, names, copy_to, patience))

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
        if self._consumer and self._lease.alive:
            with suppress(*CONNECTION_FAILURES), asked_for():
                await self._lease.channel.basic_cancel(self._consumer, timeout=RPC_SECONDS)
                await self._give_back()
        self._over()
        await end({self._writer})
        await self._lease.close()

    async def _give_back(self) -> None:
        """In order, as long as nothing was acknowledged: of more than 32 by one frame, and of what the broker puts off
        since as many frames are under way to its queue, it keeps none (seen with 3.10: they are maps to it)."""
        await self._lease.flush()
        back, frames = await self._count() or 0, 0
        for window in self._windows:
            held = sorted(window)
            for start in range(0, len(held), _BACK_AT_ONCE):
                some = held[start : start + _BACK_AT_ONCE]
                self._lease.give_back_up_to(some[-1])
                back, frames = back + len(some), frames + 1
                if frames % _FRAMES_AT_ONCE == 0:
                    await self._until_back(back)
        await self._until_back(back)

    async def _until_back(self, count: int) -> None:
        """Until so many are ready again; not for ever, since others may take them."""
        await self._lease.flush()
        for _ in range(_BACK_LOOKS):
            if (await self._count() or 0) >= count:
                return
            await asyncio.sleep(_BACK_SECONDS)

    async def _arrival(self) -> bool:
        """Whether there is one more, in the end."""
        quiet = 0
        while not self._inbox and quiet < _QUIET_LOOKS:
            if not self._consumer or len(self._windows[-1]) >= self._room:
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
        seen = await seen_on(self._lease.channel, self._lease.queue, RPC_SECONDS)
        return seen.waiting if seen.state == "there" else None

    async def _open_window(self) -> None:
        channel = self._lease.channel
        if self._consumer:
            await channel.basic_cancel(self._consumer, timeout=RPC_SECONDS)
            each = max(1, self._bytes // max(1, self._handed))
            self._room = max(1, min(LARGEST_WINDOW, 4 * self._room, WINDOW_BYTES // each))
        self._windows.append(set())
        self._bytes, self._handed = 0, 0
        await channel.basic_qos(prefetch_count=self._room, timeout=RPC_SECONDS)
        started = await channel.basic_consume(self._lease.queue, self._take, timeout=RPC_SECONDS)
        self._consumer = started.consumer_tag or ""

    async def _take(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        self._windows[-1].add(tag)
        self._handed += 1
        self._bytes += len(message.body)
        self._inbox.append(LeasedDelivery(self._lease, tag, unsealed(message), message.exchange or ""))
        self._arrived.set()

    async def _asked(self, asking: Awaitable[T]) -> T:
        queue = self._lease.queue
        try:
            with asked_for():
                return await asking
        except ChannelNotFoundEntity as failure:
            if "no queue" not in str(failure):  # it is down for the moment
                raise _away() from failure
            raise NotDeclared(f"The queue '{queue}' does not exist.", "choros topology apply APP.") from failure
        except ChannelAccessRefused as failure:
            raise denied(failure, "read") from failure
        except CONNECTION_FAILURES as failure:
            raise _away() from failure

    def _over(self) -> None:
        self._lease.alive = False


def _away() -> BrokerUnreachable:
    return BrokerUnreachable("The connection to the broker is lost.", "the same again: nothing was taken out unheard.")

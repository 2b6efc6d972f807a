"""One consumer on one channel: what was delivered through it is settled through it or not at all."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from aiormq import Channel
from aiormq.abc import AbstractChannel, ChannelFrame, DeliveredMessage

from choros.transport.arrivals import Arrivals
from choros.transport.copies import RETRIES, WAITS
from choros.transport.leased import CopyTo, Lease, LeasedDelivery
from choros.transport.rabbitmq import frames
from choros.transport.rabbitmq.declarations import RPC_SECONDS, close_channel
from choros.transport.rabbitmq.envelopes import read_quickly
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES
from choros.transport.rabbitmq.hearing import BrokerDelivery, Spoken, hearing_of
from choros.transport.rabbitmq.tasks import asked_for
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire

FAREWELL_SECONDS = 5.0
"""How long each step of a farewell may take; a broker that does not answer delivers again anyway."""


_PUT_ASIDE = RETRIES.encode(), WAITS.encode()


class RabbitDelivery(LeasedDelivery):
    """As it came off the stream. Most are read once, as an envelope; the rest is for what is put aside."""

    __slots__ = ("_came",)

    def __init__(self, lease: Lease, came: BrokerDelivery) -> None:
        self._lease, self._tag, self._came = lease, came.tag, came
        self._claimed = False
        self.exchange = came.exchange

    @property
    def wire(self) -> Wire:
        """The message as it came, unread."""
        return frames.received(self._came.properties, self._came.body)

    @property
    def fresh(self) -> bool:
        """Whether nobody had it before, without reading it."""
        return not self._came.again and not any(name in self._came.properties for name in _PUT_ASIDE)

    def read(self) -> Envelope:
        """The envelope in it."""
        return read_quickly(self._came.properties, self._came.body) or self.wire.read()


class RabbitLease(Lease):
    """Deliveries and settlements of one channel."""

    def __init__(
        self, channel: AbstractChannel, queue: str, names: Names, copy_to: CopyTo, patience: float = RPC_SECONDS
    ) -> None:
        super().__init__(queue, names, copy_to)
        self.channel = channel
        self.source = queue
        """What is consumed, if it is not the queue that the deliveries are settled for."""
        self.arguments: dict[str, Any] = {}
        """Of the consumer."""
        self.dead_letters = False
        """Whether the broker parks what is rejected."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the broker has cancelled the consumer, or when we have stopped and all is settled."""
        self._patience = patience
        self._number = channel.number
        self._unsettled = 0
        self._stopped = False
        self._tag = ""
        self._deaf: Callable[[], None] = lambda: None
        """Hear no more."""
        self._out: list[bytes] = []
        self._wake = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()

    async def start(self, arrivals: Arrivals[LeasedDelivery]) -> None:
        """Consume; what comes waits there."""

        def hear(said: Spoken) -> None:
            if isinstance(said, BrokerDelivery) and self.alive:
                self._unsettled += 1
                delivery = RabbitDelivery(self, said)
                self.handed(said.tag, delivery)
                arrivals.came(delivery)

        hearing = hearing_of(self.channel.connection)
        hearing.listen(self._number, hear)
        self._deaf = partial(hearing.leave, self._number, hear)
        self.channel.on_consumer_cancel_callbacks.add(lambda _: self.end())
        started = await self.channel.basic_consume(
            self.source, _unheard, arguments=self.arguments, timeout=self._patience
        )
        self._tag = started.consumer_tag or ""

    def handed(self, tag: int, delivery: LeasedDelivery) -> None:
        """This one is being handed over."""

    async def stop(self, arrivals: Arrivals[LeasedDelivery]) -> None:
        """Ask for no more, and give back what nobody has received."""
        with suppress(*CONNECTION_FAILURES), asked_for():
            await self.channel.basic_cancel(self._tag, timeout=min(self._patience, FAREWELL_SECONDS))
        while arrivals.waiting:
            arrivals.waiting.popleft().give_back()
        self._stopped = True
        self._end_if_all_settled()

    async def close(self) -> None:
        """Close the channel, if there still is one."""
        try:
            await close_channel(self.channel, min(self._patience, FAREWELL_SECONDS))
        finally:
            self._deaf()

    def acknowledge(self, tag: int) -> None:
        """Tell the broker to forget the delivery."""
        self._settle(frames.ack_frame(self._number, tag))

    def give_back(self, tag: int) -> None:
        """Put the delivery back into its queue, counted."""
        self._settle(frames.requeue_frame(self._number, tag))

    def give_back_unread(self, tag: int) -> None:
        """Put it back as if it had not been delivered: it has only waited behind others."""
        self._settle(frames.untouched_frame(self._number, tag))

    def give_back_up_to(self, tag: int) -> None:
        """The same for everything up to this one that is not settled."""
        self._settle(frames.untouched_up_to_frame(self._number, tag))

    def leave_to_broker(self, tag: int) -> bool:
        """Reject it, which puts it whole into the dead letters of the queue, if it has any."""
        if self.dead_letters:
            self._settle(frames.reject_frame(self._number, tag))
        return self.dead_letters

    async def write(self) -> None:
        """Write settlements, as many at once as have come together; each delivery has its own frame."""
        loop, channel = asyncio.get_running_loop(), cast(Channel, self.channel)
        while True:
            await self._wake.wait()
            self._wake.clear()
            settled, self._out = b"".join(self._out), []
            drained = loop.create_future()
            await channel.write_queue.put(ChannelFrame(settled, should_close=False, drain_future=drained))
            await drained
            if not self._out:
                self._flushed.set()
                self._end_if_all_settled()

    async def flush(self) -> None:
        """Return when every settlement so far has been written, or cannot be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._patience, FAREWELL_SECONDS)):
                await self._flushed.wait()

    def _settle(self, frame: bytes) -> None:
        if self.alive:
            self._unsettled -= 1
            self._out.append(frame)
            self._flushed.clear()
            self._wake.set()

    def _end_if_all_settled(self) -> None:
        if self._stopped and self._flushed.is_set() and not self._unsettled:
            self.end()

    def end(self) -> None:
        """Let the channel be closed."""
        if not self.ended.done():
            self.ended.set_result(None)


async def _unheard(_: DeliveredMessage) -> None:
    """aiormq wants to be given somebody; all that is delivered is heard before it gets there."""

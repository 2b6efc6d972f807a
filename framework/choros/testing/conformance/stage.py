"""What tests of a transport need: a namespace, messages with every field set, and waiting that ends."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from choros.errors import BrokerMisconfigured
from choros.sources import fresh_id
from choros.transport.fact_log import FactLog
from choros.transport.port import Consumer, Delivery, Transport
from choros.transport.topology import Names, Topology, topology
from choros.wire.envelope import Envelope, decode
from choros.wire.own_headers import written

PATIENCE = 15.0
"""Seconds that something which must happen may take."""
SILENCE = 0.3
"""Seconds without a sign of what must not happen."""


@dataclass
class Stage:
    """One test's namespace, and the transports opened on it."""

    namespace: str
    opener: Callable[[str], Transport]
    names: Names = field(init=False)
    opened: list[Transport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = Names(self.namespace)

    async def transport(self, declared: Topology | None = None) -> Transport:
        """One more connected transport."""
        transport = self.opener(self.namespace)
        self.opened.append(transport)
        await transport.connect()
        if declared is not None:
            await transport.declare(declared)
        return transport

    async def close(self) -> None:
        """Close all that is open; closing twice must be harmless."""
        for transport in self.opened:
            await transport.close()

    def shop(self) -> Topology:
        """Two services, an application and two subscribers."""
        services, subscribers = ["payment", "shipping"], ["one", "two"]
        return topology(self.namespace, services=services, applications=["app"], subscribers=subscribers)

    def shop_with_log(self) -> Topology:
        """The same, and a log of facts."""
        return self.shop() + topology(self.namespace, fact_log=FactLog())


def command(to: str = "payment", number: int = 0) -> Envelope:
    """A command with every field set."""
    return Envelope(
        id=fresh_id(),
        kind="command",
        type="shop.payment.charge",
        source="/shop/app",
        time=1_790_000_000.123456,
        data=f'{{"number":{number},"text":"naïve ☕"}}',
        to=to,
        subject=f"order-{number}",
        correlation_id=fresh_id(),
        causation_id=fresh_id(),
        key="saga-1:charge:0:do",
        saga="order",
        saga_version=3,
        step="charge",
        attempt=2,
        reply_to="somewhere",
        not_after=1_790_000_030.5,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
        tracestate="vendor=1",
        own_headers=written({"tenant": "naïve ☕"}),
    )


def reply(to: str, service: str = "payment") -> Envelope:
    """A reply to that command."""
    answered = replace(command(), kind="reply", to=to, source=f"/shop/{service}", reply_to="", not_after=None)
    return replace(answered, outcome="refused", undone='["naïve ☕ line 1"]')


def fact(seq: int = 1, stream: str = "saga-1") -> Envelope:
    """A fact of a stream."""
    return Envelope(
        id=fresh_id(),
        kind="fact",
        type="shop.order.confirmed",
        source="/shop/app",
        time=1_790_000_000.0,
        data=f'{{"seq":{seq}}}',
        stream=stream,
        seq=seq,
    )


async def receive(consumer: Consumer, count: int = 1) -> list[Delivery]:
    """Exactly so many deliveries, in time."""
    received: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(received) < count:
            received += await consumer.receive(count - len(received))
    return received


async def receive_and_ack(consumer: Consumer, count: int = 1) -> list[Envelope]:
    """The same, acknowledged as they come, and read."""
    received: list[Envelope] = []
    async with asyncio.timeout(PATIENCE):
        while len(received) < count:
            for delivery in await consumer.receive(count - len(received)):
                received.append(decode(delivery.wire))
                await delivery.ack()
    return received


async def assert_closing_ends_a_receive(consumer: Consumer) -> None:
    """Who waits where nothing comes gets nothing, once the consumer is closed."""
    waiting = asyncio.ensure_future(consumer.receive(1))
    await asyncio.sleep(0.05)
    await consumer.close()
    async with asyncio.timeout(PATIENCE):
        assert list(await waiting) == []


async def misconfigured(doing: Awaitable[object]) -> BrokerMisconfigured:
    """What this must fail with."""
    try:
        await asyncio.wait_for(doing, PATIENCE)
    except BrokerMisconfigured as refused:
        return refused
    raise AssertionError("it was not refused")


async def assert_silent(consumer: Consumer, seconds: float = SILENCE) -> None:
    """Nothing arrives."""
    arrived: Sequence[Delivery] = ()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            arrived = await consumer.receive(1)
    assert not arrived, "a delivery that should not be there"

"""A message through the broker: sent and confirmed, received, read and acknowledged, all that a process does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from benchmarks.pattern import NAMESPACE, Pattern
from benchmarks.stage.stage import AT_ONCE, LOCAL, RABBITMQ, Stage
from choros.roles.addresses import open_transport
from choros.sources import fresh_id
from choros.transport.port import Consumer, Delivery, Published, Transport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope


async def passage_stages(pattern: Pattern, stack: AsyncExitStack, amqp_url: str) -> list[Stage]:
    """Through each broker; through RabbitMQ only where there is one."""
    kinds = [("memory", "memory://", LOCAL, 16.0)] + ([("rabbitmq", amqp_url, RABBITMQ, 41.0)] if amqp_url else [])
    stages = []
    for name, url, of, wanted in kinds:
        passage = await _passage(url, pattern.commands[0], stack)
        stages.append(Stage(f"{name}: a message there and back", 7, wanted, AT_ONCE, passage.work, of=frozenset({of})))
    return stages


async def _passage(url: str, command: Envelope, stack: AsyncExitStack) -> _Passage:
    namespace = f"{NAMESPACE}-{fresh_id()[-12:]}"
    transport = open_transport(url, namespace, "stages")
    stack.push_async_callback(transport.close)
    await transport.connect()
    await transport.declare(topology(namespace, services=("payment",)))
    consumer = await transport.consume(Names(namespace).service_queue("payment"), 2 * AT_ONCE)
    stack.push_async_callback(consumer.close)
    return _Passage(transport, consumer, replace(command, to="payment"))


class _Passage:
    """Sends to itself."""

    def __init__(self, transport: Transport, consumer: Consumer, command: Envelope) -> None:
        self._transport, self._consumer, self._command = transport, consumer, command

    async def work(self, _: object) -> None:
        """As many as go together."""
        sending = asyncio.create_task(self._send())
        left = AT_ONCE
        while left:
            left -= await self._acknowledged(await self._consumer.receive(left))
        await sending

    async def _send(self) -> None:
        messages = [replace(self._command, id=fresh_id()) for _ in range(AT_ONCE)]
        assert set(await self._transport.send(messages)) == {Published.CONFIRMED}

    async def _acknowledged(self, deliveries: Sequence[Delivery]) -> int:
        for one in deliveries:
            one.read()
            await one.ack()
        return len(deliveries)

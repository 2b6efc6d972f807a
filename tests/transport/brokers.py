"""Helpers for tests on a real broker."""

from __future__ import annotations

import aio_pika

from choros.transport.topology import Names, Topology, topology

SERVICES, APPLICATIONS, SUBSCRIBERS = ("payment", "shipping"), ("app",), ("one", "two")


def shop(namespace: str) -> Topology:
    """What most tests need on the broker."""
    return topology(namespace, services=SERVICES, applications=APPLICATIONS, subscribers=SUBSCRIBERS)


async def delete_namespace(url: str, namespace: str) -> None:
    """Remove the queues and exchanges of `shop`."""
    await delete(url, shop(namespace))


async def delete(url: str, declared: Topology) -> None:
    """Remove all of it, and the fact log."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        for name in (*(queue.name for queue in declared.queues), Names(declared.namespace).facts_log):
            await channel.queue_delete(name)
        for exchange in declared.exchanges:
            await channel.exchange_delete(exchange.name)

"""Takes away what a run left on a shared broker and store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import aio_pika
from redis.asyncio import Redis
from redis.exceptions import RedisError

from choros import Addresses
from choros.transport.topology import Topology, topology
from reference_services.choreographed.app import app as choreographed
from reference_services.order.app import app


async def tidy(addresses: Addresses, namespace: str, plugged: Sequence[str] = ()) -> None:
    """Delete the queues, exchanges and keys of this namespace; whatever cannot be reached stays."""
    whole = (
        topology(
            namespace, services=app.participants, applications=[app.name], subscribers=[*app.subscribers, *plugged]
        )
        + choreographed.within(namespace).topology
    )
    with suppress(aio_pika.exceptions.AMQPError, OSError, ValueError):  # the last of an address that is none
        await _tidy_broker(addresses.broker, whole)
    if addresses.store.startswith("redis"):
        with suppress(RedisError, OSError):
            await _tidy_redis(addresses.store, namespace)


async def _tidy_broker(url: str, whole: Topology) -> None:
    connection = await aio_pika.connect(url, timeout=5)
    async with connection, connection.channel() as channel:
        for queue in whole.queues:
            await channel.queue_delete(queue.name)
        for exchange in whole.exchanges:
            await channel.exchange_delete(exchange.name)


async def _tidy_redis(url: str, namespace: str) -> None:
    async with Redis.from_url(url, socket_timeout=5) as client:
        keys = [key async for key in client.scan_iter(match=f"*{namespace}.*", count=1000)]
        for start in range(0, len(keys), 1000):
            await client.unlink(*keys[start : start + 1000])

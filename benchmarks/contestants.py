"""Who is measured: the floor, and choros on the adapters that matter."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aio_pika
from redis.asyncio import Redis

from benchmarks.application import Adapters, Application
from benchmarks.floor import Floor
from benchmarks.measuring import Contestant
from benchmarks.samples import take_samples
from benchmarks.shop import APPLICATION, PARTICIPANTS, SUBSCRIBER
from choros.roles.addresses import database_at, open_transport, store_at
from choros.transport.topology import topology

FLOOR = "floor"


@dataclass
class Arena:
    """The servers and the folder that the contestants use, and what they leave there."""

    amqp_url: str
    redis_url: str
    folder: Path
    namespaces: list[str] = field(default_factory=list)
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    def saga(self, measurement: int, number: int) -> str:
        """A name that no other saga has, all of one length."""
        return f"order-{self.run}-{measurement:04}-{number:06}"

    async def contestants(self) -> list[Contestant]:
        """All of them, the floor first."""
        sample = self.saga(0, 0)
        floor = Floor(self.amqp_url, self._namespace("f"), await take_samples(self._namespace("s"), sample), sample)
        sqlite, memory = "sqlite:///{folder}/{namespace}-{service}.db", "memory://"
        return [
            floor,
            self._application("rabbitmq+redis, services on sqlite", "q", self.amqp_url, self.redis_url, sqlite),
            self._application("rabbitmq+redis, services in memory", "m", self.amqp_url, self.redis_url, memory),
            self._application("memory+sqlite, services on sqlite", "l", "memory://bench", "", sqlite),
        ]

    def _namespace(self, letter: str) -> str:
        self.namespaces.append(f"bench-{self.run}-{letter}")  # of one length: the names stand in the messages
        return self.namespaces[-1]

    def _application(self, name: str, letter: str, broker: str, store: str, database: str) -> Application:
        namespace = self._namespace(letter)
        store = store or f"sqlite:///{self.folder}/{namespace}.db"
        where = {"folder": str(self.folder), "namespace": namespace}
        adapters = Adapters(
            partial(open_transport, broker, namespace, "bench"),
            partial(store_at, store, f"{namespace}.{APPLICATION}"),
            lambda service: database_at(database.format(service=service, **where)),
        )
        return Application(name, namespace, adapters)

    async def clean(self) -> None:
        """Take everything off the broker and out of Redis again."""
        async with await aio_pika.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            for namespace in self.namespaces:
                whole = topology(
                    namespace, services=PARTICIPANTS, applications=(APPLICATION,), subscribers=(SUBSCRIBER,)
                )
                for queue in whole.queues:
                    await channel.queue_delete(queue.name)
                for exchange in whole.exchanges:
                    await channel.exchange_delete(exchange.name)
        async with Redis.from_url(self.redis_url) as redis:
            async for key in redis.scan_iter(match=f"*bench-{self.run}-*", count=1000):
                await redis.unlink(key)


@asynccontextmanager
async def arena(amqp_url: str, redis_url: str, folder: Path) -> AsyncIterator[Arena]:
    """An arena that is clean again at the end."""
    arena = Arena(amqp_url, redis_url, folder)
    try:
        yield arena
    finally:
        await arena.clean()

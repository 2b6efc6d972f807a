"""Who is measured: the floors, and choros on the adapters that matter, in one process or in two."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg
from redis.asyncio import Redis

from benchmarks.application import Adapters, Application
from benchmarks.floor import Floor
from benchmarks.hand_packed.floor import HandPacked
from benchmarks.measuring import Contestant, Part
from benchmarks.samples import take_samples
from benchmarks.shop import APPLICATION, PARTICIPANTS, subscriber_names
from choros.roles.addresses import database_at, open_transport, store_at
from choros.store.barrier import Database
from choros.transport.topology import topology

STOCK, STOCK_REDIS, HAND_PACKED = "stock floor", "stock floor + redis", "hand-packed floor"
CHOROS, LOCAL = "choros: rabbitmq + redis", "choros: memory + sqlite"
POSTGRES = "choros: rabbitmq + postgresql"
IN_TWO, REFUSED = ", two processes", ", compensated"
LEVELS = (1, 10, 100, 1000)
"""How many are in flight."""
MANY = 200
"""Subscribers to one fact."""
_FILE, _MEMORY = "sqlite:///{folder}/{namespace}-{service}.db", "memory://"


@dataclass(frozen=True)
class Entrant:
    """A contestant, and what of it runs where."""

    name: str
    contestant: Contestant
    there: Part | None = None
    """What runs in a second process."""
    levels: Sequence[int] = ()
    """In flight, where not at all."""
    aside: Collection[int] = ()
    """In flight, where a quick look does without it."""

    most: int = sys.maxsize
    """Sagas in a measurement at most."""

    @property
    def here(self) -> Part:
        """What runs in this process, where the sagas are started."""
        return Part.ORCHESTRATOR if self.there else Part.WHOLE


@dataclass
class Arena:
    """The servers and the folder that the contestants use, and what they leave there."""

    amqp_url: str
    redis_url: str
    folder: Path
    postgres_url: str = ""
    """Empty: nobody is measured on it."""
    namespaces: dict[str, int] = field(default_factory=dict)
    """Each with its number of subscribers."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    def saga(self, measurement: int, number: int) -> str:
        """A name that no other saga has, all of one length."""
        return f"order-{self.run}-{measurement:04}-{number:06}"

    async def entrants(self) -> list[Entrant]:
        """All of them, the floors first."""
        choros = self._application("q")
        refusing = self._application("c", refused=True)
        local = self._application("l", broker="memory://bench")
        return [
            *await self._floors(),
            Entrant(CHOROS, choros),
            Entrant(CHOROS + IN_TWO, choros, Part.SERVICES, aside=(1000,)),
            Entrant(CHOROS + REFUSED, refusing, levels=(100,)),
            *self._on_postgresql(),
            Entrant(LOCAL, local, levels=(1, 10, 100)),
            *self._asides(choros, refusing),
        ]

    def _on_postgresql(self) -> list[Entrant]:
        if not self.postgres_url:
            return []
        postgres = self._application("p", store=self.postgres_url)
        beside = self._application("d", database=self.redis_url), self._application("e", database=self.postgres_url)
        return [
            *(
                Entrant(f"{CHOROS}, services on {kind}", one, levels=(100,), aside=LEVELS)
                for kind, one in zip(("redis", "postgresql"), beside, strict=True)
            ),
            Entrant(POSTGRES, postgres, levels=(1, 10, 100), aside=LEVELS),
            Entrant(POSTGRES + IN_TWO, postgres, Part.SERVICES, levels=(100,), aside=LEVELS),
        ]

    def _asides(self, choros: Application, refusing: Application) -> list[Entrant]:
        in_memory = self._application("m", database=_MEMORY)
        many = self._application("n", database=_MEMORY, subscribers=MANY)
        return [
            Entrant(f"{CHOROS}, services in memory", in_memory, levels=(100,), aside=LEVELS),
            Entrant(f"{CHOROS}, two orchestrators", choros, Part.WHOLE, levels=(100, 1000), aside=LEVELS),
            Entrant(CHOROS + REFUSED + IN_TWO, refusing, Part.SERVICES, levels=(100,), aside=LEVELS),
            Entrant(f"{CHOROS}, {MANY} subscribers", many, levels=(10,), aside=LEVELS, most=50),
        ]

    async def _floors(self) -> list[Entrant]:
        sample = self.saga(0, 0)
        samples = await take_samples(self._namespace("s"), sample)
        stock = Floor(self.amqp_url, self._namespace("f"), samples, sample)
        with_redis = Floor(self.amqp_url, self._namespace("r"), samples, sample, self.redis_url)
        packed = HandPacked(self.amqp_url, self.redis_url, self._namespace("h"), samples, sample)
        return [
            Entrant(STOCK, stock, aside=(1000,)),
            Entrant(STOCK_REDIS, with_redis),
            Entrant(HAND_PACKED, packed),
            Entrant(STOCK_REDIS + IN_TWO, with_redis, Part.SERVICES, aside=LEVELS),
            Entrant(HAND_PACKED + IN_TWO, packed, Part.SERVICES, aside=LEVELS),
        ]

    def _namespace(self, letter: str, subscribers: int = 1) -> str:
        name = f"bench-{self.run}-{letter}"  # of one length: the names stand in the messages
        self.namespaces[name] = subscribers
        return name

    def _application(
        self, letter: str, *, broker: str = "", store: str = "", database: str = _FILE, **more: Any
    ) -> Application:
        """On RabbitMQ and Redis, or on SQLite where it has another broker."""
        namespace = self._namespace(letter, more.get("subscribers", 1))
        store = store or (f"sqlite:///{self.folder}/{namespace}.db" if broker else self.redis_url)
        adapters = Adapters(
            partial(open_transport, broker or self.amqp_url, namespace, "bench"),
            partial(store_at, store, f"{namespace}.{APPLICATION}"),
            partial(_database, database, str(self.folder), namespace),
        )
        return Application(namespace, adapters, **more)

    async def clean(self) -> None:
        """Take everything off the broker and out of Redis again."""
        async with await aio_pika.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            for namespace, subscribers in self.namespaces.items():
                names = subscriber_names(subscribers)
                whole = topology(namespace, services=PARTICIPANTS, applications=(APPLICATION,), subscribers=names)
                for queue in whole.queues:
                    await channel.queue_delete(queue.name)
                for exchange in whole.exchanges:
                    await channel.exchange_delete(exchange.name)
        async with Redis.from_url(self.redis_url) as redis:
            async for key in redis.scan_iter(match=f"*bench-{self.run}-*", count=1000):
                await redis.unlink(key)
        if self.postgres_url:
            await self._clean_postgresql()

    async def _clean_postgresql(self) -> None:
        connection = await asyncpg.connect(self.postgres_url)
        for table in ("record", "outbox", "history", "entry", "tally"):
            if await connection.fetchval("SELECT to_regclass($1)", f"choros_{table}"):
                await connection.execute(f"DELETE FROM choros_{table} WHERE scope LIKE $1", f"bench-{self.run}-%")
        for table in ("barrier", "horizon", "schema"):
            if await connection.fetchval("SELECT to_regclass($1)", f"choros_{table}"):
                await connection.execute(f"DELETE FROM choros_{table} WHERE namespace LIKE $1", f"bench-{self.run}-%")
        await connection.close()


def _database(url: str, folder: str, namespace: str, service: str) -> Database:
    return database_at(url.format(folder=folder, namespace=namespace, service=service))


@asynccontextmanager
async def arena(amqp_url: str, redis_url: str, folder: Path, postgres_url: str = "") -> AsyncIterator[Arena]:
    """An arena that is clean again at the end."""
    arena = Arena(amqp_url, redis_url, folder, postgres_url)
    try:
        yield arena
    finally:
        await arena.clean()

"""What a fact costs its subscriber: taken singly, several at a time, or passed over by its filter; in turns.

python tests/servers.py -- python -m benchmarks.subscribing [--rounds 5] [--facts 5000] [--databases sqlite,redis]

Each round fills the queue of each kind, then starts it, and counts the seconds and the processor's time of this process
until its queue is empty. Both handlers add up the same, in a SQLite file or in Redis (the one in REDIS_URL).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import aio_pika

from choros import Addresses, App, Batch, Fact, RedisTransaction, Service, SqliteTransaction, Transaction
from choros.roles.addresses import connected
from choros.roles.roles import open_role, run_together, stop_all
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import fresh_id, now
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope

ADD = "INSERT INTO sold VALUES (?, ?) ON CONFLICT (region) DO UPDATE SET pieces = pieces + excluded.pieces"
AT_ONCE, REGIONS = 500, 997


class Sold(Fact, name="bench.sold"):
    region: str
    pieces: int


singly, together, filtered = Service("singly"), Service("together"), Service("filtered")
KINDS = (singly, together, filtered)


@singly.prepares
@together.prepares
async def create(db: Transaction) -> None:
    if isinstance(db, SqliteTransaction):
        await db.execute("CREATE TABLE IF NOT EXISTS sold (region TEXT PRIMARY KEY, pieces INTEGER)")


async def write(db: Transaction, region: str, pieces: int) -> None:
    if isinstance(db, SqliteTransaction):
        await db.execute(ADD, (region, pieces))
    elif isinstance(db, RedisTransaction):
        await db.incrby(f"bench-subscribing:{region}", pieces)


@singly.on(Sold)
async def add(fact: Sold, db: Transaction) -> None:
    await write(db, fact.region, fact.pieces)


@together.on(Sold, batch=Batch(AT_ONCE))
async def add_all(facts: list[Sold], db: Transaction) -> None:
    pieces: dict[str, int] = {}
    for fact in facts:
        pieces[fact.region] = pieces.get(fact.region, 0) + fact.pieces
    if isinstance(db, SqliteTransaction):
        await db.executemany(ADD, pieces.items())
    else:
        for region, more in pieces.items():
            await write(db, region, more)


@filtered.on(Sold, where={"region": "nowhere"})
async def never(fact: Sold) -> None:
    raise AssertionError("nothing is sold there")


app = App("bench-subscribing", services=KINDS)


@dataclass(frozen=True)
class Taken:
    """What the facts of one round took."""

    seconds: float
    cpu: float


def facts(count: int) -> Sequence[Envelope]:
    """So many, each of a stream of its own."""
    return [
        Envelope(
            id=fresh_id(), kind="fact", type=Sold.type_name, source=f"/{app.namespace}/shop", time=now(),
            data=Sold(region=f"r{number % REGIONS}", pieces=number % 3 + 1).to_json(), stream=fresh_id(), seq=1,
        )
        for number in range(count)
    ]  # fmt: skip


async def one(addresses: Addresses, service: Service, count: int) -> Taken:
    """Fill the queue of one, and let it run until all are settled."""
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "bench"))
        await transport.declare(topology(app.namespace, applications=["shop"], subscribers=[service.subscription]))
        await transport.publish(facts(count))
        parts = await open_role(app, f"subscriber:{service.name}", addresses, stack)
        (subscriber,) = parts
        assert isinstance(subscriber, Subscriber)
        began, cpu = time.perf_counter(), time.process_time()
        running = asyncio.create_task(run_together(parts))
        while subscriber.counts.total() < count:  # noqa: ASYNC110 # it tells nobody
            await asyncio.sleep(0.005)
        taken = Taken(time.perf_counter() - began, time.process_time() - cpu)
        await stop_all(parts)
        await running
        await forget(addresses.broker, service)
        assert subscriber.counts.keys() <= {"handled", "filtered"}, subscriber.counts
        return taken


async def forget(broker: str, service: Service) -> None:
    """Delete its queue, which would hear what is published for the others."""
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        await channel.queue_delete(Names(app.namespace).subscriber_queue(service.name))


async def measure(addresses: Addresses, rounds: int, count: int) -> dict[str, list[Taken]]:
    """Each kind in each round, the first one first in every other round."""
    found: dict[str, list[Taken]] = {service.name: [] for service in KINDS}
    for number in range(rounds):
        for service in KINDS if number % 2 else reversed(KINDS):
            found[service.name].append(await one(addresses, service, count))
    return found


def told(found: dict[str, list[Taken]], count: int) -> list[str]:
    """A line for each kind, and the ratios of each round with their span."""
    lines = []
    for name, taken in found.items():
        rate, cpu = median(count / one.seconds for one in taken), median(one.cpu / count for one in taken)
        lines.append(f"{name:9} {rate:7.0f} facts a second, {cpu * 1e6:6.0f} us of the processor for each")
    for name in ("together", "filtered"):
        for what in ("seconds", "cpu"):
            pairs = zip(found["singly"], found[name], strict=True)
            ratios = sorted(getattr(first, what) / getattr(second, what) for first, second in pairs)
            span = f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
            lines.append(f"ratio     {name} to singly, by {what}: {median(ratios):.1f} ({span}, {len(ratios)} rounds)")
    return lines


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--facts", type=int, default=5000)
    given.add_argument("--databases", default="sqlite,redis")
    options = given.parse_args()
    for kind in options.databases.split(","):
        with TemporaryDirectory(prefix="choros-bench-") as folder:
            database = os.environ["REDIS_URL"] if kind == "redis" else f"sqlite:///{Path(folder)}/{{service}}.db"
            addresses = Addresses(os.environ["AMQP_URL"], database=database)
            found = asyncio.run(measure(addresses, options.rounds, options.facts))
        print("\n".join([kind, *told(found, options.facts)]))


if __name__ == "__main__":
    main()

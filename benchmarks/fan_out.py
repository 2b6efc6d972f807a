"""What a fact costs with ever more subscribers: all of them hear it, each with a queue and an inbox of its own.

python tests/servers.py -- python -m benchmarks.fan_out [--subscribers 1,50,100,200] [--facts 50] [--rounds 3]

Publisher and subscribers share this process and one connection. A line for each number of subscribers, by the median
round: what a publication takes until it is confirmed, what a fact costs until all have handled it, and what of that is
one subscriber's. Where the last figure stays, the cost is linear.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

import aio_pika

from choros import Addresses, App, Fact, Service
from choros.roles.addresses import connected
from choros.roles.roles import run_together, stop_all
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import fresh_id, now
from choros.store.barrier import Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.transport.topology import topology
from choros.wire.envelope import Envelope


class Told(Fact, name="bench.told"):
    number: int


@dataclass(frozen=True)
class Spread:
    """What the facts of one round took, in seconds for each."""

    confirmed: float
    handled: float
    cpu: float


def listening(number: int) -> Service:
    """One subscriber of many."""
    service = Service(f"s{number}")

    @service.on(Told)
    async def hear(fact: Told, db: Transaction) -> None:
        """Its inbox row is all that it writes."""

    return service


def told(namespace: str, number: int) -> Envelope:
    """The fact of this number."""
    return Envelope(
        id=fresh_id(), kind="fact", type=Told.type_name, source=f"/{namespace}/teller", time=now(),
        data=Told(number=number).to_json(), stream=fresh_id(), seq=1,
    )  # fmt: skip


async def one(addresses: Addresses, subscribers: int, facts: int) -> Spread:
    """So many facts, one after the other confirmed, for so many subscribers."""
    namespace = f"bench-fan-out-{fresh_id()[-12:]}"
    app = App(namespace, services=[listening(number) for number in range(subscribers)])
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "bench"))
        subscriptions = [service.subscription for service in app.services.values()]
        whole = topology(namespace, applications=["teller"], subscribers=subscriptions)
        await transport.declare(whole)
        parts = []
        for service in app.services.values():
            database = MemoryDatabase()
            await database.open()
            parts.append(Subscriber(service, namespace=namespace, transport=transport, database=database))
        running = asyncio.create_task(run_together([*parts]))
        await transport.publish([told(namespace, 0)])  # all consume once they have handled the first
        await _handled(parts, 1)
        began, cpu = time.perf_counter(), time.process_time()
        for number in range(facts):
            await transport.publish([told(namespace, number)])
        confirmed = time.perf_counter() - began
        await _handled(parts, facts + 1)
        spread = Spread(confirmed / facts, (time.perf_counter() - began) / facts, (time.process_time() - cpu) / facts)
        await stop_all([*parts])
        await running
    async with await aio_pika.connect(addresses.broker) as connection:
        channel = await connection.channel()
        for queue in whole.queues:
            await channel.queue_delete(queue.name)
        for exchange in whole.exchanges:
            await channel.exchange_delete(exchange.name)
    return spread


async def _handled(parts: Sequence[Subscriber], count: int) -> None:
    while any(part.counts["handled"] < count for part in parts):  # noqa: ASYNC110 # it tells nobody
        await asyncio.sleep(0.01)


def line(subscribers: int, spreads: Sequence[Spread]) -> str:
    """Of the median round."""
    confirmed, handled, cpu = (
        median(getattr(one, what) for one in spreads) * 1e3 for what in ("confirmed", "handled", "cpu")
    )
    each = [one.handled * 1e3 / subscribers for one in spreads]
    return (
        f"{subscribers:4} subscribers: confirmed in {confirmed:7.2f} ms, handled by all in {handled:8.2f} ms"
        f" ({cpu:.2f} of this processor); {median(each):.3f} ms for each of them ({min(each):.3f} to {max(each):.3f})"
    )


async def measure(addresses: Addresses, counts: Sequence[int], facts: int, rounds: int) -> list[str]:
    """A line for each number of subscribers; the rounds of all take turns."""
    found: dict[int, list[Spread]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            found[count].append(await one(addresses, count, facts))
    return [line(count, spreads) for count, spreads in found.items()]


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--subscribers", default="1,50,100,200")
    given.add_argument("--facts", type=int, default=50)
    given.add_argument("--rounds", type=int, default=3)
    options = given.parse_args()
    counts = [int(count) for count in options.subscribers.split(",")]
    lines = asyncio.run(measure(Addresses(os.environ["AMQP_URL"]), counts, options.facts, options.rounds))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

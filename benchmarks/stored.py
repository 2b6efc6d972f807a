"""What must not depend on how much is stored: the rate, and what a process costs that has nothing to do.

`make bench-growth`, or smaller: `make bench-growth ARGS="--sagas 20000 --asleep 5000 --rounds 1"`. On Redis two servers
of its own, one of which holds much; RabbitMQ is the one in AMQP_URL. On SQLite two files, and no broker.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from benchmarks.application import Adapters, Application
from benchmarks.measuring import Arrivals, Load, Part, cpu_of, rss_of
from benchmarks.neighbour import LOOPS, Neighbour, loop_factory
from benchmarks.page import put
from benchmarks.pattern import Pattern
from benchmarks.report import Table, as_markdown, as_text, described, spread, this_machine
from choros.cli.garbage import search_less
from choros.roles.addresses import database_at, open_transport, store_at
from choros.sources import fresh_id
from choros.store.barrier import Database
from choros.store.sagas import Committed, Store, Transition
from tests.private_servers import PrivateRedis

FEW, AT_ONCE, IN_FLIGHT = 1_000, 500, 100
SETTLE_SECONDS, REST_SECONDS = 3.0, 10.0
AN_HOUR, MONTHS = 3600.0, 90 * 86_400.0
MUCH, AS_BEFORE = 0.9, 1.2
"""Of the rate with few stored there must be so much; at rest, a process may cost so much of what it did."""
_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A store with so much in it, and the application on it."""

    application: Application
    redis: PrivateRedis | None = None

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The application's, open; a Redis meanwhile need not write everything down at once."""
        store = self.application.adapters.store()
        await store.open()
        try:
            await self._durable("no")
            yield store
        finally:
            await self._durable("always")
            await store.close()

    async def _durable(self, when: str) -> None:
        if self.redis:
            async with Redis.from_url(self.redis.url) as admin:
                await admin.config_set("appendfsync", when)

    def servers(self) -> dict[str, int]:
        """Whose processor time is told besides that of Python."""
        return {"redis": self.redis.pid} if self.redis else {}


@asynccontextmanager
async def place(kind: str, folder: Path) -> AsyncIterator[Place]:
    """An empty one."""
    namespace = f"growth-{fresh_id()[-12:]}"
    redis = PrivateRedis(folder / namespace) if kind == "redis" else None
    if redis:
        redis.start()
    try:
        broker = os.environ["AMQP_URL"] if redis else f"memory://{namespace}"
        store = redis.url if redis else f"sqlite:///{folder}/{namespace}.db"
        adapters = Adapters(
            partial(open_transport, broker, namespace, "growth"),
            partial(store_at, store, f"{namespace}.order"),
            partial(_database, str(folder / namespace)),
        )
        yield Place(Application(namespace, adapters), redis)
    finally:
        if redis:
            redis.stop()


def _database(path: str, service: str) -> Database:
    return database_at(f"sqlite:///{path}-{service}.db")


# --- filled in bulk ---------------------------------------------------------------------------------------------------


async def fill(store: Store, sagas: int, made: Callable[[int, float], Transition]) -> None:
    """So many sagas, each in one commit that brings all that is left of its four."""
    began, told = time.monotonic(), time.monotonic()
    for first in range(0, sagas, AT_ONCE):
        batch = [made(number, store.now()) for number in range(first, min(sagas, first + AT_ONCE))]
        answers = await store.commit(batch)
        assert all(answer is Committed.OK for answer in answers)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{first} of {sagas} after {told - began:.0f} s", file=sys.stderr, flush=True)


def ended(pattern: Pattern, number: int, now: float) -> Transition:
    """A saga that is over."""
    return _alone(pattern.last(number, now - AN_HOUR))


def asleep(pattern: Pattern, number: int, now: float) -> Transition:
    """A saga that waits: every second one for an answer, for an hour and longer, the others asleep, for months."""
    made = _alone(pattern.first(number, now))
    return replace(made, record=replace(made.record, wake_at=now + (number % 2 * MONTHS) + AN_HOUR + number / 1000))


def _alone(made: Transition) -> Transition:
    """As if it were the first, and all of its messages had left."""
    return replace(made, record=replace(made.record, version=1), previous="", outbox=(), sent=())


# --- the rate ---------------------------------------------------------------------------------------------------------


async def rates(kind: str, folder: Path, sagas: int, rounds: int, load: int) -> Table:
    """With few stored and with many, one right after the other in each round."""
    pattern = Pattern()
    async with place(kind, folder) as small, place(kind, folder) as large:
        for there, stored in ((small, FEW), (large, sagas)):
            async with there.store() as store:
                await fill(store, stored, partial(ended, pattern))
        few, many = [], []
        for _ in range(rounds):
            few.append(await _rate(small.application, load))
            many.append(await _rate(large.application, load))
    ratios = [one / other for one, other in zip(many, few, strict=True)]
    held = "yes" if median(ratios) >= MUCH else "**no**"
    return [
        (kind, f"{FEW:,}", spread(few, "{:.0f}"), "", ""),
        (kind, f"{sagas:,}", spread(many, "{:.0f}"), spread(ratios), held),
    ]


async def _rate(application: Application, load: int) -> float:
    arrivals = Arrivals()
    async with application.opened(Part.WHOLE, arrivals.heard) as shop:
        loaded = Load(shop, arrivals, lambda _: f"rate-{next(_numbers):010}", {})
        await loaded.run(IN_FLIGHT, IN_FLIGHT)
        return (await loaded.run(load, IN_FLIGHT)).sagas_per_second


# --- at rest ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtRest:
    """What a process costs that has nothing to do: milliseconds of processor time a second, and memory."""

    python: float
    servers: float
    megabytes: float


async def rest(kind: str, folder: Path, sagas: int) -> Table:
    """With few sagas asleep and with many."""
    few, many = [await _at_rest(kind, folder, number) for number in (FEW, sagas)]
    cost, before = many.python + many.servers, few.python + few.servers
    held = "yes" if cost <= before * AS_BEFORE else "**no**"
    return [_rest_row(kind, FEW, few, ""), _rest_row(kind, sagas, many, held)]


def _rest_row(kind: str, sagas: int, found: AtRest, held: str) -> Sequence[str]:
    return (kind, f"{sagas:,}", f"{found.python:.1f}", f"{found.servers:.1f}", f"{found.megabytes:.0f}", held)


async def _at_rest(kind: str, folder: Path, sagas: int) -> AtRest:
    """Of a process of its own, in which all roles run."""
    neighbour = Neighbour(LOOPS[0], "INFO")
    try:
        async with place(kind, folder) as there:
            async with there.store() as store:
                await fill(store, sagas, partial(asleep, Pattern()))
            async with neighbour.opened(there.application, Part.WHOLE, lambda _: None):
                return await _watched(neighbour.pid, there.servers())
    finally:
        neighbour.close()


async def _watched(pid: int, servers: dict[str, int]) -> AtRest:
    def spent() -> tuple[float, float]:
        return cpu_of(pid), sum(map(cpu_of, servers.values()))

    await asyncio.sleep(SETTLE_SECONDS)
    before, began = spent(), time.monotonic()
    await asyncio.sleep(REST_SECONDS)
    after, seconds = spent(), time.monotonic() - began
    python, others = (1000 * (late - early) / seconds for early, late in zip(before, after, strict=True))
    return AtRest(python, others, rss_of(pid) / 2**20)


# --- the command ------------------------------------------------------------------------------------------------------

RATES = ("store", "sagas stored", "sagas/s, 100 in flight", "beside the few", f"at least {MUCH}")
REST = (
    "store",
    "sagas asleep",
    "ms of CPU a second: Python",
    "servers",
    "MiB of the process",
    f"at most {AS_BEFORE} times",
)


async def measured(options: argparse.Namespace) -> tuple[Table, Table]:
    """Both tables."""
    found: list[Sequence[str]] = [RATES]
    resting: list[Sequence[str]] = [REST]
    for kind in options.stores.split(","):
        with tempfile.TemporaryDirectory(prefix="choros-growth-") as folder:
            found += _told(await rates(kind, Path(folder), options.sagas, options.rounds, options.load))
            resting += _told(await rest(kind, Path(folder), options.asleep))
    return found, resting


def _told(rows: Table) -> Table:
    """At once: the next ones take minutes."""
    for row in rows:
        print("  ".join(row), file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--sagas", type=int, default=1_000_000, help="how many are stored")
    given.add_argument("--asleep", type=int, default=100_000, help="how many sleep")
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--load", type=int, default=1000, help="sagas in a measurement of the rate")
    given.add_argument("--stores", default="redis,sqlite")
    given.add_argument("--page", action="store_true", help="write the tables into docs/performance.md")
    options = given.parse_args()
    logging.getLogger("choros").setLevel(logging.CRITICAL)
    this = described(this_machine(LOOPS[0]))
    search_less()
    with asyncio.Runner(loop_factory=loop_factory(LOOPS[0])) as runner:
        tables = runner.run(measured(options))
    print("\n\n".join([this, *map(as_text, tables)]))
    if options.page:
        put("growth", "\n\n".join([this, *map(as_markdown, tables)]))


if __name__ == "__main__":
    main()

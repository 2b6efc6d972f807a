"""What commands and facts leave behind at a service: bytes with retention on, which must stay as they are.

python -m benchmarks.growth_of_services [--commands 200000] [--databases sqlite,redis]
(Redis: the one in REDIS_URL, emptied)
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from choros.app.service import Service
from choros.messages import Command, Done
from choros.runtime.host.admission import understood
from choros.runtime.host.retention import Ages, sweep
from choros.runtime.host.slots import Calls
from choros.runtime.participant.execution import Execution
from choros.runtime.subscriber.order import remember
from choros.store.barrier import Database, Job
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.wire.envelope import Envelope

NAMESPACE, AT_ONCE, STEPS = "growth.service", 200, 10
Bytes = Callable[[], Awaitable[int]]


class Weigh(Command[Done], name="growth.weigh"):
    """A command whose effect is nothing: what is measured are the rows."""


SERVICE = Service("scales")


@SERVICE.handles(Weigh)
async def weigh(command: Weigh) -> Done:
    """Do nothing."""
    return Done()


def envelope(number: int, kind: str) -> Envelope:
    """The message of this number; a second lies between two."""
    saga, at = f"00000000-0000-8000-8000-{number:012}", float(number + 1)
    common = {"id": f"m{number}", "source": "/growth/orders", "time": at, "began": at, "correlation_id": saga}
    if kind == "fact":
        return Envelope(kind="fact", type="growth.weighed.v1", data="{}", stream=saga, seq=1, **common)  # type: ignore[arg-type]
    return Envelope(
        kind="command", type=Weigh.type_name, data="{}", key=f"{saga}:weigh:1:do", saga="order", saga_version=1,
        step="weigh", attempt=1, reply_to="growth.replies.orders", **common,  # type: ignore[arg-type]
    )  # fmt: skip


async def grown(database: Database, size: Bytes, commands: int) -> list[int]:
    """The bytes after each tenth of so many commands and facts, of which a tenth is remembered."""
    now, found = 0.0, []
    execution = Execution("/growth/scales", clock=lambda: now, clock_skew=60.0, calls=Calls())
    ages: Ages = {"commands": commands / STEPS, "facts": commands / STEPS}
    for step in range(STEPS):
        for first in range(step * commands // STEPS, (step + 1) * commands // STEPS, AT_ONCE):
            now = float(first + AT_ONCE)
            numbers = range(first, first + AT_ONCE)
            jobs: list[Job[Any]] = [execution.job(understood(envelope(n, "command"), SERVICE)) for n in numbers]
            jobs += [partial(remember, "scales", envelope(n, "fact"), ordered=False, now=now) for n in numbers]
            await database.run(jobs)
            await database.mark_sent([envelope(n, "command").key for n in numbers])
            await sweep(database, now, ages)
        found.append(await size())
    return found


async def measured(kind: str, commands: int, folder: Path) -> list[int]:
    """On one kind of database, empty at first."""
    if kind == "sqlite":
        database: Database = SqliteDatabase(folder / "growth.db", NAMESPACE)
        await database.open()
        try:
            return await grown(database, partial(_of_the_file, folder), commands)
        finally:
            await database.close()
    async with Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as admin:
        await admin.flushall()
        database = RedisDatabase(os.environ["REDIS_URL"], NAMESPACE)
        await database.open()
        try:
            return await grown(database, partial(_of_redis, admin), commands)
        finally:
            await database.close()
            await admin.flushall()


async def _of_the_file(folder: Path) -> int:
    return await asyncio.to_thread(lambda: sum(file.stat().st_size for file in folder.iterdir()))


async def _of_redis(admin: Redis) -> int:
    return int((await admin.info("memory"))["used_memory_dataset"])


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--commands", type=int, default=200_000)
    given.add_argument("--databases", default="sqlite,redis")
    options = given.parse_args()
    logging.getLogger("choros").setLevel(logging.CRITICAL)
    for kind in options.databases.split(","):
        with tempfile.TemporaryDirectory(prefix="choros-growth-") as folder:
            sizes = asyncio.run(measured(kind, options.commands, Path(folder)))
        each = f"{sizes[0] / (options.commands / STEPS):.0f} bytes for a command with a fact while they are remembered"
        print(f"{kind}: {each}; after each tenth {', '.join(f'{size / 2**20:.1f}' for size in sizes)} MiB")


if __name__ == "__main__":
    main()

"""The command line and the shop as a user has them: processes of their own, a real broker, a real store."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity
from redis.asyncio import Redis

from choros.roles.addresses import Addresses
from choros.transport.topology import Topology, topology
from reference_services.demo.processes import Processes, processes
from reference_services.demo.tidy import tidy
from reference_services.order.app import app
from tests.end_to_end import forked
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
APP = "reference_services.order"
SERVICES, SUBSCRIBERS = ("payment", "inventory", "shipping"), ("notifications", "analytics")
_OURS = ("AMQP_URL", "REDIS_URL", "CHOROS_BROKER", "CHOROS_STORE", "CHOROS_DATABASE", "CHOROS_NAMESPACE")


# --- the command line -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """What it answered."""
        return self.out.splitlines()

    @property
    def complaints(self) -> list[str]:
        """Its error lines."""
        return [line for line in self.err.splitlines() if line.startswith("✖")]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without addresses, so that a command uses only what the test gives it."""
    inherited = {key: value for key, value in os.environ.items() if key not in _OURS}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "200", "TERM": "dumb", **more}


def choros(*arguments: str, cwd: Path, within: float = PATIENCE, given: str | None = None, **settings: str) -> Ended:
    """Run `choros ...` until it ends; fails the test (TimeoutExpired) where it hangs."""
    started = time.monotonic()
    said = forked.run(arguments, cwd, environment(**settings), given or "", within)
    return Ended(*said, time.monotonic() - started)


# --- waiting ----------------------------------------------------------------------------------------------------------


async def until(what: str, check: Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> Any:
    """Return the first answer that counts as true; fails the test past the limit."""
    give_up = time.monotonic() + seconds
    while not (answer := await check()):  # there is no event to wait for: it looks at whatever a test asks
        assert time.monotonic() < give_up, f"waited {seconds:g} s in vain: {what}"
        await asyncio.sleep(0.05)
    return answer


# --- the shop ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_shop(folder: Path, addresses: Addresses, namespace: str) -> AsyncIterator[Processes]:
    """Every role as a process of its own; afterwards nothing is left on the broker and in the store."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    try:
        async with processes(folder, addresses, namespace) as shop:
            yield shop
    finally:
        await tidy(addresses, namespace)


async def queue_depth(url: str, queue: str) -> int:
    """Messages that wait in a queue; -1 if there is no such queue."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        with suppress(ChannelNotFoundEntity):
            declared = await channel.declare_queue(queue, passive=True)
            return int(declared.declaration_result.message_count or 0)
    return -1


async def remove(url: str, whole: Topology) -> None:
    """Delete queues and exchanges; those that are not there do not matter."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in whole.queues:
            await channel.queue_delete(queue.name)
        for exchange in whole.exchanges:
            await channel.exchange_delete(exchange.name)


async def left_behind(broker: str, store: str, namespace: str) -> list[str]:
    """Queues and exchanges of this namespace on the broker, and keys in Redis."""
    whole = topology(namespace, services=app.participants, applications=[app.name], subscribers=app.subscribers)
    left: list[str] = []
    async with await aio_pika.connect(broker) as connection:
        for queue in whole.queues:
            with suppress(ChannelNotFoundEntity):
                await (await connection.channel()).declare_queue(queue.name, passive=True)
                left.append(queue.name)
        for exchange in whole.exchanges:
            with suppress(ChannelNotFoundEntity):
                await (await connection.channel()).declare_exchange(exchange.name, passive=True)
                left.append(exchange.name)
    async with Redis.from_url(store) as client:
        left += [str(key) async for key in client.scan_iter(match=f"*{namespace}*", count=1000)]
    return left


def logged(folder: Path) -> str:
    """Everything that the processes of a shop have logged."""
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))


def entries(log: Path) -> list[dict[str, Any]]:
    """The lines of a log that are JSON."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found

"""The figures: a table for people, JSON for programs."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from operator import attrgetter
from statistics import median
from types import MappingProxyType
from typing import Any

import aio_pika
from redis.asyncio import Redis

from benchmarks.campaign import Results, ratios
from benchmarks.contestants import HAND_PACKED, STOCK_REDIS
from benchmarks.measuring import Figures
from choros.version import __version__

Machine = Mapping[str, Any]
Table = Sequence[Sequence[str]]
"""The first row is the head."""
_PACKAGES = ("aio-pika", "aiormq", "redis", "pydantic", "uvloop")
RATE, P50 = attrgetter("sagas_per_second"), attrgetter("p50_ms")

NOTES = """\
The stock floor is a bare aio-pika loop that exchanges the same messages on the same queues; + redis: and keeps what a
saga must not forget with a call of redis-py each. The hand-packed floor keeps and sends the same as prepared bytes,
many at once. None of them has an engine, JSON or SQLite. A row is one process on one event loop; of two processes one
has the orchestrator and the client, the other the participants and the subscriber. choros is on RabbitMQ and Redis, its
services on SQLite, where nothing else is said, and logs as shipped, to /dev/null. Medians of the rounds,
(lowest-highest); shares are taken within each round. CPU: seconds for 1,000 sagas, of all Python processes and of each
server."""


async def machine(amqp_url: str, redis_url: str, loop: str) -> Machine:
    """What the figures were measured on, servers too."""
    async with await aio_pika.connect(amqp_url) as connection:
        transport = connection.transport
        rabbitmq = transport.connection.server_properties.get("version", "?") if transport else "?"
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        server = await redis.info("server")
    return this_machine(loop, {"rabbitmq": str(rabbitmq), "redis-server": str(server["redis_version"])})


def this_machine(loop: str, servers: Mapping[str, str] = MappingProxyType({})) -> Machine:
    """What the figures were measured on."""
    packages = {package: version(package) for package in _PACKAGES if package != "uvloop" or loop == "uvloop"}
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
        "loop": loop,
        "versions": {
            "choros": __version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **packages,
            **servers,
        },
    }


def described(machine: Machine) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['cores']} cores, {machine['system']}, load {machine['load']}, {machine['loop']}; {versions}"


def as_json(results: Results, machine: Machine) -> dict[str, Any]:
    """Every round of every row."""
    rows = [
        {
            "contestant": name,
            "in_flight": in_flight,
            "of_stock_with_redis": list(ratios(results, in_flight, name, STOCK_REDIS, RATE)),
            "of_hand_packed": list(ratios(results, in_flight, name, HAND_PACKED, RATE)),
            "rounds": [asdict(figures) for figures in rounds],
        }
        for (in_flight, name), rounds in results.items()
    ]
    return {"machine": dict(machine), "notes": NOTES, "rows": rows}


def table(results: Results) -> Table:
    """A row for each entrant at each level."""
    servers = list(next(iter(results.values()))[0].cpu_of_servers)
    head = (
        "in flight",
        "",
        "sagas/s",
        "of stock + redis",
        "of hand-packed",
        "p50 ms",
        "p99 ms",
        "CPU: python",
        *servers,
    )
    rows = [
        (
            str(in_flight),
            name,
            spread([RATE(figures) for figures in rounds], "{:.0f}"),
            spread(ratios(results, in_flight, name, STOCK_REDIS, RATE)),
            spread(ratios(results, in_flight, name, HAND_PACKED, RATE)),
            *(_middle(rounds, of) for of in _columns(servers)),
        )
        for (in_flight, name), rounds in results.items()
    ]
    return [head, *rows]


def _columns(servers: Sequence[str]) -> list[Callable[[Figures], float]]:
    of_servers = [lambda figures, one=one: figures.cpu_of_servers[one] for one in servers]
    return [P50, attrgetter("p99_ms"), attrgetter("cpu"), *of_servers]


def _middle(rounds: Sequence[Figures], of: Callable[[Figures], float]) -> str:
    figure = median(of(figures) for figures in rounds)
    return f"{figure:.2f}" if figure < 10 else f"{figure:.1f}"


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, and from where to where; nothing of none."""
    if not values:
        return ""
    middle, least, most = (form.format(value) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least}-{most})" if len(values) > 1 else middle


def as_text(table: Table, *, grouped: bool = False) -> str:
    """What the terminal shows; where it is grouped, with a gap where the first cell changes."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines: list[str] = []
    for before, row in zip([table[0], *table], table, strict=False):
        if grouped and row[0] != before[0]:
            lines.append("")
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """What a page shows."""
    head, *rows = table
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))

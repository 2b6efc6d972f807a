"""The figures: a table for people, JSON for programs."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from statistics import median
from typing import Any

import aio_pika
from redis.asyncio import Redis

from benchmarks.campaign import Results, ratios
from benchmarks.contestants import FLOOR
from benchmarks.measuring import Figures
from choros.version import __version__

_PACKAGES = ("aio-pika", "aiormq", "redis", "pydantic", "uvloop")
_HEAD = ("in flight", "", "sagas/s", "of the floor", "p50 ms", "p99 ms", "CPU s per 1,000 sagas")
_WIDTHS = (9, 34, 22, 18, 9, 9, 0)

NOTES = (
    "The floor is a bare aio-pika loop that exchanges the same seven messages on the same queues, with no store, no"
    " database and no JSON.",
    "Everything of a row runs in one process on one event loop; only the servers are processes of their own."
    " choros logs as shipped, to /dev/null.",
    "Medians of the rounds, (lowest-highest); the share of the floor is taken within each round.",
)


async def machine(amqp_url: str, redis_url: str, loop: str) -> dict[str, Any]:
    """What the figures were measured on."""
    async with await aio_pika.connect(amqp_url) as connection:
        transport = connection.transport
        rabbitmq = transport.connection.server_properties.get("version", "?") if transport else "?"
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        server = await redis.info("server")
    servers = {"rabbitmq": str(rabbitmq), "redis-server": str(server["redis_version"])}
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


def as_json(results: Results, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Every round of every row."""
    rows = [
        {
            "contestant": name,
            "in_flight": in_flight,
            "ratio": list(ratios(results, in_flight, name, FLOOR)),
            "rounds": [asdict(figures) for figures in rounds],
        }
        for (in_flight, name), rounds in results.items()
    ]
    return {"machine": dict(machine), "notes": list(NOTES), "rows": rows}


def as_table(results: Results, machine: Mapping[str, Any]) -> str:
    """What the terminal shows."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    first = f"{machine['cores']} cores, {machine['system']}, load {machine['load']}, {machine['loop']}; {versions}"
    lines = [first, "", _line(_HEAD)]
    for (in_flight, name), rounds in results.items():
        if name == FLOOR and in_flight != next(iter(results))[0]:
            lines.append("")
        lines.append(_line(_cells(in_flight, name, rounds, ratios(results, in_flight, name, FLOOR))))
    return "\n".join([*lines, "", *NOTES])


def _cells(in_flight: int, name: str, rounds: Sequence[Figures], share: Sequence[float]) -> Sequence[str]:
    def middle(of: Callable[[Figures], float]) -> float:
        return median(of(figures) for figures in rounds)

    servers = {server: median(f.cpu_of_servers[server] for f in rounds) for server in rounds[0].cpu_of_servers}
    cpu = [f"{middle(lambda f: f.cpu):.2f}", *(f"{server} {seconds:.2f}" for server, seconds in servers.items())]
    return (
        str(in_flight),
        name,
        _spread([figures.sagas_per_second for figures in rounds], "{:.0f}"),
        "" if name == FLOOR else _spread(share, "{:.2f}"),
        f"{middle(lambda f: f.p50_ms):.1f}",
        f"{middle(lambda f: f.p99_ms):.1f}",
        ", ".join(cpu),
    )


def _spread(values: Sequence[float], form: str) -> str:
    middle, least, most = (form.format(value) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least}-{most})" if len(values) > 1 else middle


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()

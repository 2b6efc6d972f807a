"""One measurement: so many sagas, so many in flight, by the clock and by the processor time they cost."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Flag, auto
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

PATIENCE = 180.0
"""Seconds after which a measurement is given up: a saga must have been lost."""
_CPU_CLOCK = 2


class SagasLost(Exception):
    """Not every saga that was started has ended, or not every fact has arrived."""


Heard = Callable[[str], object]


class Arrivals:
    """The facts that the subscriber has handled; each saga counts once."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heard)

    def heard(self, saga: str) -> None:
        """One more."""
        self._heard.add(saga)
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Return when the facts of so many sagas are there."""
        while len(self._heard) < count:
            self._changed.clear()
            await self._changed.wait()


class Part(Flag):
    """What of a contestant runs in a process."""

    ORCHESTRATOR = auto()
    """And the client beside it."""
    SERVICES = auto()
    """The participants and the subscriber."""
    WHOLE = ORCHESTRATOR | SERVICES


class Shop(Protocol):
    """Something that carries order sagas out."""

    async def carry_out(self, saga: str) -> None:
        """Run one saga; returns when it is completed (its fact may still be under way)."""
        ...


class Contestant(Protocol):
    """Something to be measured; it is pickled on its way to another process."""

    def opened(self, part: Part, heard: Heard) -> AbstractAsyncContextManager[Shop]:
        """This part of it connected and at work; `heard` is told the saga of each fact that its subscriber has handled.

        The services are opened before the first saga is carried out, not always before the orchestrator."""
        ...


@dataclass(frozen=True)
class Figures:
    """What one measurement came to. Processor seconds are for 1,000 sagas."""

    sagas: int
    in_flight: int
    sagas_per_second: float
    p50_ms: float
    p99_ms: float
    cpu: float
    cpu_of_servers: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Load:
    """A closed loop: every saga that completes makes room for the next."""

    shop: Shop
    arrivals: Arrivals
    name_of: Callable[[int], str]
    servers: Mapping[str, int]
    """Process ids of servers whose processor time is counted as well."""
    neighbour: int = 0
    """The process id of another one of ours, whose processor time is added to that of this one."""
    _latencies: list[float] = field(default_factory=list)

    async def run(self, sagas: int, in_flight: int) -> Figures:
        """Run so many; raises SagasLost if they do not all end."""
        self._latencies.clear()
        expected = len(self.arrivals) + sagas
        before, began = self._cpu(), time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._all(sagas, in_flight)
                await self.arrivals.reach(expected)
        except TimeoutError:
            ended, heard = len(self._latencies), len(self.arrivals) - (expected - sagas)
            raise SagasLost(f"Of {sagas} sagas {ended} have ended, and {heard} facts have arrived.") from None
        return self._figures(sagas, in_flight, time.perf_counter() - began, before)

    async def _all(self, sagas: int, in_flight: int) -> None:
        numbers = iter(range(sagas))

        async def one_after_another() -> None:
            for number in numbers:
                saga = self.name_of(number)
                began = time.perf_counter()
                await self.shop.carry_out(saga)
                self._latencies.append(time.perf_counter() - began)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(in_flight, sagas)):
                    group.create_task(one_after_another())
        except* Exception as failed:  # hundreds of them, mostly for the same reason
            raise failed.exceptions[0] from None

    def _cpu(self) -> dict[str, float]:
        own = time.process_time() + (cpu_of(self.neighbour) if self.neighbour else 0.0)
        return {"": own} | {name: cpu_of(pid) + cpu_of_children(pid) for name, pid in self.servers.items()}

    def _figures(self, sagas: int, in_flight: int, seconds: float, before: Mapping[str, float]) -> Figures:
        cpu = {name: (after - before[name]) * 1000 / sagas for name, after in self._cpu().items()}
        latencies = self._latencies if len(self._latencies) > 1 else self._latencies * 2
        return Figures(
            sagas,
            in_flight,
            sagas / seconds,
            median(latencies) * 1000,
            quantiles(latencies, n=100, method="inclusive")[-1] * 1000,
            cpu.pop(""),
            cpu,
        )


def cpu_of_children(pid: int) -> float:
    """The same of all the processes that it has forked and that are there: of PostgreSQL one for each connection."""
    try:
        return sum(cpu_of(int(child)) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return 0.0


def rss_of(pid: int) -> int:
    """Bytes of memory that a process has; 0 where that cannot be asked."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def cpu_of(pid: int) -> float:
    """Seconds of user and system time of another process, of all its threads; 0 where that cannot be asked, or it has
    gone. Linux makes the clock's number of the process id; /proc tells hundredths of a second, of which a short
    measurement has few."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:
        return 0.0

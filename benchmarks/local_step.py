"""What a local step costs beside a commanded one: a saga of one step, on the same store and kind of database, in turns.

`make bench-local` prints it. The orchestrator and the client are this process, the commanded service is another one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from choros import (
    Addresses,
    App,
    Client,
    Command,
    Done,
    Local,
    Message,
    RedisTransaction,
    Saga,
    Service,
    SqliteTransaction,
    Step,
    Transaction,
)
from choros.roles.roles import open_role, run_together, stop_all
from choros.runtime.orchestrator.orchestrator import Orchestrator

_CLOCK = os.sysconf("SC_CLK_TCK")


class Write(Message):
    name: str


class WriteRow(Command[Done]):
    name: str


class EraseRow(Command[Done]):
    name: str


def write_row(write: Write) -> WriteRow:
    return WriteRow(name=write.name)


def erase_row(write: Write) -> EraseRow:
    return EraseRow(name=write.name)


def _service(name: str) -> Service:
    made = Service(name)

    @made.prepares
    async def create(db: Transaction) -> None:
        if isinstance(db, SqliteTransaction):
            await db.execute("CREATE TABLE IF NOT EXISTS row (name TEXT)")

    @made.handles(WriteRow)
    async def write(command: WriteRow, db: Transaction) -> Done:
        if isinstance(db, SqliteTransaction):
            await db.execute("INSERT INTO row VALUES (?)", (command.name,))
        elif isinstance(db, RedisTransaction):
            await db.incrby(command.name, 1)
        return Done()

    @made.handles(EraseRow)
    async def erase(command: EraseRow, db: Transaction) -> Done:
        return Done()

    return made


local = Saga(
    "local", start=Write, key=lambda write: write.name,
    steps=(Local(write_row, to="here", compensation=erase_row),),
)  # fmt: skip
commanded = Saga(
    "commanded", start=Write, key=lambda write: write.name,
    steps=(Step(write_row, to="there", compensation=erase_row),),
)  # fmt: skip
app = App("bench-local", sagas=[local, commanded], services=[_service("here"), _service("there")])


@dataclass
class Taken:
    """What the sagas of one kind have taken, round by round."""

    latency: list[float] = field(default_factory=list)
    """Seconds from start to end, one saga at a time: the median of a round."""
    rate: list[float] = field(default_factory=list)
    """Sagas a second, 100 in flight."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of processor time of choros, for 1,000 sagas at that rate."""


@dataclass
class Bench:
    """Both kinds, on one client."""

    client: Client
    pid: int
    """Of the commanded service."""
    number: int = 0
    taken: dict[str, Taken] = field(default_factory=lambda: {"local": Taken(), "commanded": Taken()})

    async def round(self, saga: Saga[Write], sagas: int) -> None:
        """A few one by one, then many at once."""
        taken = self.taken[saga.name]
        taken.latency.append(median([await _timed(lambda: self._one(saga)) for _ in range(sagas // 5)]))
        before = self._cpu()
        seconds = await _timed(lambda: self._many(saga, sagas))
        taken.rate.append(sagas / seconds)
        taken.cpu.append((self._cpu() - before) / sagas * 1000)

    async def _one(self, saga: Saga[Write]) -> None:
        self.number += 1
        outcome = await self.client.run(saga, Write(name=f"{saga.name}-{os.getpid()}-{self.number}"))
        assert outcome.status == "completed"

    async def _many(self, saga: Saga[Write], sagas: int) -> None:
        places = asyncio.Semaphore(100)

        async def one() -> None:
            async with places:
                await self._one(saga)

        await asyncio.gather(*(one() for _ in range(sagas)))

    def _cpu(self) -> float:
        """Of both processes."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return time.process_time() + (int(words[11]) + int(words[12])) / _CLOCK


async def _timed(what: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await what()
    return time.perf_counter() - begun


async def measure(addresses: Addresses, rounds: int, sagas: int) -> dict[str, Taken]:
    """In turns; the first round of each warms up, and does not count."""
    given = ["--broker", addresses.broker, "--database", addresses.database]
    command = ["-m", "choros", "run", "benchmarks.local_step", "--role", "service:there", *given]
    silent = asyncio.subprocess.DEVNULL
    service = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=silent, stderr=silent)
    try:
        async with AsyncExitStack() as stack:
            parts = await open_role(app, "orchestrator", addresses, stack)
            at_work = asyncio.create_task(run_together(parts))
            orchestrator = next(part for part in parts if isinstance(part, Orchestrator))
            store, transport = orchestrator.store, orchestrator.transport
            client = Client(app, store=store, transport=transport, decider=orchestrator.decider)
            bench = Bench(client, service.pid)
            for number in range(rounds + 1):
                for saga in (local, commanded) if number % 2 else (commanded, local):
                    await bench.round(saga, sagas)
                if number == 0:
                    bench.taken = {"local": Taken(), "commanded": Taken()}
            await stop_all(parts)
            await at_work
    finally:
        service.terminate()
        await service.wait()
    return bench.taken


def told(name: str, taken: dict[str, Taken]) -> list[str]:
    """A line for each kind, and one for the ratios within rounds."""
    lines = []
    for kind, one in taken.items():
        milliseconds = median(one.latency) * 1000
        lines.append(
            f"{name:8} {kind:10} {milliseconds:6.1f} ms  {median(one.rate):6.0f} sagas/s"
            f"  {median(one.cpu):5.2f} s CPU for 1,000"
        )
    here, there = taken["local"], taken["commanded"]
    ratios = [
        median(a / b for a, b in zip(mine, theirs, strict=True))
        for mine, theirs in ((here.latency, there.latency), (here.rate, there.rate), (here.cpu, there.cpu))
    ]
    return [*lines, "{:8} ratio      latency {:.2f}, rate {:.2f}, CPU {:.2f}".format(name, *ratios)]


def main() -> None:
    """SQLite files, then Redis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sagas", type=int, default=500)
    given = parser.parse_args()
    broker, redis = os.environ["AMQP_URL"], os.environ["REDIS_URL"]
    with TemporaryDirectory() as folder:
        files = Addresses(broker, f"sqlite:///{folder}/sagas.db", f"sqlite:///{folder}/{{service}}.db")
        for name, addresses in (("sqlite", files), ("redis", Addresses(broker, redis, redis))):
            print("\n".join(told(name, asyncio.run(measure(addresses, given.rounds, given.sagas)))))


if __name__ == "__main__":
    main()

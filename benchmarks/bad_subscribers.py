"""Sagas a second with one subscriber stopped, one full and one that fails at every fact, beside the same three healthy.

python tests/servers.py -- python -m benchmarks.bad_subscribers [--rounds 7] [--sagas 300]

A round runs the sagas once with each three, in turns. The subscribers are a process of their own; orchestrator, client
and the commanded service are this one. What counts is the ratio of one round; with its median stands the interval
that holds it with 95 %, by drawing the rounds again. A stopped subscriber does not run, a full one neither, and its
queue takes ten facts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import aio_pika

from choros import Addresses, App, Command, Done, Fact, FactLog, Message, Pivot, Saga, Service, running
from choros.roles.addresses import connected
from choros.roles.roles import open_role, run_together

NAMESPACE, IN_FLIGHT = "bench-bad", 32
THREES = ("healthy", "bad")


class Go(Message, name="bench.go"):
    number: str


class Work(Command[Done], name="bench.work"):
    number: str


class Gone(Fact, name="bench.gone"):
    number: str


def work(go: Go) -> Work:
    return Work(number=go.number)


def gone(go: Go) -> Gone:
    return Gone(number=go.number)


SAGA = Saga("go", start=Go, key=lambda go: go.number, steps=(Pivot(work, to="worker"),), completed=gone)


def subscribers(three: str) -> Sequence[Service]:
    """Three that hear all; of the bad ones each is bad in its own way."""
    bad = three == "bad"
    made = Service(f"{three}-one"), Service(f"{three}-two", queue_limit=10 if bad else 0), Service(f"{three}-three")

    async def hear(fact: Gone) -> None:
        if bad:
            raise ValueError

    for service in made:
        service.on(Gone)(hear)
    return made


def application(three: str) -> App:
    """The whole of it, with these subscribers."""
    worker = Service("worker")

    @worker.handles(Work)
    async def carry_out(command: Work) -> Done:
        return Done()

    return App(NAMESPACE, sagas=[SAGA], services=[worker, *subscribers(three)], fact_log=FactLog())


def without_subscribers() -> App:
    """What runs in this process."""
    return App(NAMESPACE, sagas=[SAGA], services=[application("healthy").services["worker"]])


@asynccontextmanager
async def beside(three: str, addresses: Addresses) -> AsyncIterator[None]:
    """The subscribers, in a process of their own, once they consume."""
    async with connected(addresses, application(three), "bench") as transport:
        await transport.declare(application(three).topology)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bad_subscribers", "--serve", three, addresses.broker, addresses.database,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout
        await process.stdout.readline()
        yield
    finally:
        process.kill()
        await process.wait()
        await delete(addresses.broker, application(three))


async def serve(three: str, addresses: Addresses) -> None:
    """Those of the three that run."""
    app = application(three)
    names = [service.name for service in subscribers(three)][2 if three == "bad" else 0 :]
    async with AsyncExitStack() as stack:
        parts = [part for name in names for part in await open_role(app, f"subscriber:{name}", addresses, stack)]
        running_parts = asyncio.create_task(run_together(parts))
        print("ready", flush=True)
        await running_parts


async def delete(broker: str, app: App) -> None:
    """All that it has on the broker."""
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        for queue in app.topology.queues:
            await channel.queue_delete(queue.name)
        for exchange in app.topology.exchanges:
            await channel.exchange_delete(exchange.name)


async def rate(three: str, broker: str, sagas: int) -> float:
    """Sagas a second beside these subscribers."""
    with TemporaryDirectory(prefix="choros-bench-") as folder:
        addresses = Addresses(broker, f"sqlite:///{folder}/sagas.db", f"sqlite:///{Path(folder)}/{{service}}.db")
        async with beside(three, addresses), running(without_subscribers(), addresses) as client:
            places = asyncio.Semaphore(IN_FLIGHT)

            async def one(number: int) -> None:
                async with places:
                    await client.run(SAGA, Go(number=f"n{number}"))

            await asyncio.gather(*(one(-number - 1) for number in range(IN_FLIGHT)))
            began = time.perf_counter()
            await asyncio.gather(*(one(number) for number in range(sagas)))
            return sagas / (time.perf_counter() - began)


async def measure(broker: str, rounds: int, sagas: int) -> dict[str, list[float]]:
    """The rates of each three; each begins every other round."""
    found: dict[str, list[float]] = {three: [] for three in THREES}
    for number in range(rounds):
        for three in THREES if number % 2 else reversed(THREES):
            found[three].append(await rate(three, broker, sagas))
    return found


def interval(ratios: Sequence[float], draws: int = 10_000) -> tuple[float, float]:
    """Of their median, 95 %: by drawing as many of them again."""
    random = Random(1)
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(draws))
    return medians[draws // 40], medians[-draws // 40 - 1]


def told(found: dict[str, list[float]]) -> list[str]:
    """A line for each three, and one for the ratio."""
    ratios = [bad / healthy for healthy, bad in zip(found["healthy"], found["bad"], strict=True)]
    low, high = interval(ratios)
    lines = [
        f"{three:8} {median(rates):6.0f} sagas a second ({min(rates):.0f} to {max(rates):.0f})"
        for three, rates in found.items()
    ]
    return [*lines, f"ratio    {median(ratios):.3f}, between {low:.3f} and {high:.3f} with 95 % ({len(ratios)} rounds)"]


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--sagas", type=int, default=300)
    given.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.serve:
        three, broker, database = options.serve
        asyncio.run(serve(three, Addresses(broker, database=database)))
        return
    print("\n".join(told(asyncio.run(measure(os.environ["AMQP_URL"], options.rounds, options.sagas)))))


if __name__ == "__main__":
    main()

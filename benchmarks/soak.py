"""Whether a process grows that goes on for long: `make bench-soak`, or shorter: `make bench-soak ARGS="--sagas 20000"`.

Sagas of one step go through one orchestrator and one participant, each in a process of its own, on RabbitMQ and Redis
with the participant on SQLite, and with retention on. The memory of both is told at every twentieth of the way; at the
end it must be within a tenth of what it was after the first tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from benchmarks.application import Adapters, Application
from benchmarks.measuring import Heard, Part, Shop, rss_of
from benchmarks.neighbour import LOOPS, Neighbour, loop_factory
from benchmarks.page import put
from benchmarks.report import Machine, Table, as_markdown, as_text, described, machine
from choros.app.app import App
from choros.app.service import Service
from choros.cli.garbage import search_less
from choros.messages import Command, Done, Message
from choros.roles.addresses import database_at, open_transport, store_at
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.retention import Retention
from choros.saga.nodes import Pivot
from choros.saga.saga import Saga
from choros.sources import fresh_id
from choros.store.barrier import Database, Transaction
from choros.telemetry.lines import configure_logging

STEPS, WITHIN = 20, 0.10
KEPT_SECONDS = 20.0
"""How long what has ended is kept here: a short while, so that as much goes as comes long before the first tenth."""
SWEEP_SECONDS = 2.0


class Stroke(Message, name="soak.stroke"):
    """Begins a saga."""

    number: str


class Turn(Command[Done], name="soak.turn"):
    """What is done in it."""

    number: str


def turn(stroke: Stroke) -> Turn:
    """The only step."""
    return Turn(number=stroke.number)


stroke_saga = Saga(
    "stroke", version=1, start=Stroke, key=lambda stroke: stroke.number, steps=(Pivot(turn, to="wheel"),)
)


def wheel() -> Service:
    """The only participant."""
    service = Service("wheel")

    @service.handles(Turn)
    async def turned(command: Turn, db: Transaction) -> Done:
        return Done()

    return service


@dataclass(frozen=True)
class Strokes:
    """Carries out sagas of one step."""

    client: Client

    async def carry_out(self, saga: str) -> None:
        """One of them."""
        outcome = await self.client.run(stroke_saga, Stroke(number=saga), timeout=timedelta(minutes=5))
        if outcome.status != "completed":
            raise AssertionError(f"Saga {saga} ended {outcome.status}.")


class Soaked(Application):
    """A contestant: one role in each process; nobody subscribes to anything."""

    def app(self, heard: Heard) -> App:
        """What is declared."""
        return App(self.namespace, name="strokes", sagas=(stroke_saga,), services=(wheel(),))

    def shop(self, app: App, client: Client) -> Strokes:
        """What carries sagas out."""
        return Strokes(client)


def soaked(amqp_url: str, redis_url: str, folder: Path) -> Soaked:
    """With retention on."""
    namespace = f"soak-{fresh_id()[-12:]}"
    adapters = Adapters(
        partial(open_transport, amqp_url, namespace, "soak"),
        partial(store_at, redis_url, f"{namespace}.strokes"),
        partial(_database, str(folder)),
    )
    retention = Retention(timedelta(seconds=KEPT_SECONDS), timedelta(seconds=2 * KEPT_SECONDS))
    return Soaked(
        namespace,
        adapters,
        orchestrating={"retention": retention, "sweep_every": SWEEP_SECONDS},
        serving={"ages": {"commands": KEPT_SECONDS}, "prune_every": SWEEP_SECONDS},
    )


def _database(folder: str, service: str) -> Database:
    return database_at(f"sqlite:///{folder}/{service}.db")


# --- the way ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """How it was on the way."""

    sagas: int
    rate: float
    orchestrator: int
    participant: int
    """Bytes."""


async def walked(shop: Shop, sagas: int, in_flight: int, look: Callable[[int], Look]) -> list[Look]:
    """All sagas, so many at a time, with a look at every twentieth."""
    numbers, looks = iter(range(sagas)), []
    ended = 0

    async def one_after_another() -> None:
        nonlocal ended
        for number in numbers:
            await shop.carry_out(f"stroke-{number:09}")
            ended += 1
            if ended % (sagas // STEPS) == 0:
                looks.append(look(ended))

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_another())
    return looks


class Watch:
    """Looks at both processes."""

    def __init__(self, participant: int) -> None:
        self._participant = participant
        self._ended, self._at = 0, time.monotonic()

    def look(self, ended: int) -> Look:
        """Also at how fast it went since the last look, and says so."""
        now = time.monotonic()
        rate = (ended - self._ended) / (now - self._at)
        self._ended, self._at = ended, now
        found = Look(ended, rate, rss_of(os.getpid()), rss_of(self._participant))
        print(" ".join(_row(found)), file=sys.stderr, flush=True)
        return found


async def soak(sagas: int, in_flight: int) -> tuple[Machine, list[Look]]:
    """What it was measured on, and how it went."""
    amqp_url, redis_url = os.environ["AMQP_URL"], os.environ["REDIS_URL"]
    this = await machine(amqp_url, redis_url, LOOPS[0])
    neighbour = Neighbour(LOOPS[0], "INFO")
    try:
        with tempfile.TemporaryDirectory(prefix="choros-soak-") as folder:
            contestant = soaked(amqp_url, redis_url, Path(folder))
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(neighbour.opened(contestant, Part.SERVICES, _unheard))
                shop = await stack.enter_async_context(contestant.opened(Part.ORCHESTRATOR, _unheard))
                return this, await walked(shop, sagas, in_flight, Watch(neighbour.pid).look)
    finally:
        neighbour.close()


def _unheard(_: str) -> None:
    """There are no facts."""


def table(looks: Sequence[Look]) -> Table:
    """A row for each look that counts, and what became of the memory."""
    first, last = looks[STEPS // 10 - 1], looks[-1]
    grown = max(last.orchestrator / first.orchestrator, last.participant / first.participant)
    held = "yes" if grown <= 1 + WITHIN else "**no**"
    head = ("sagas", "sagas/s", "MiB: orchestrator and client", "participant", f"within {WITHIN:.0%}")
    return [head, (*_row(first), ""), (*_row(looks[len(looks) // 2 - 1]), ""), (*_row(last), held)]


def _row(look: Look) -> tuple[str, ...]:
    sizes = (f"{size / 2**20:.1f}" for size in (look.orchestrator, look.participant))
    return (f"{look.sagas:,}", f"{look.rate:.0f}", *sizes)


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--sagas", type=int, default=1_000_000)
    given.add_argument("--in-flight", type=int, default=100)
    given.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    options = given.parse_args()
    with open(os.devnull, "w") as nowhere, asyncio.Runner(loop_factory=loop_factory(LOOPS[0])) as runner:
        configure_logging("soak", level="INFO", stream=nowhere, json=True)
        search_less()
        this, looks = runner.run(soak(max(STEPS, options.sagas), options.in_flight))
    found = table(looks)
    print(f"{described(this)}\n\n{as_text(found)}")
    if options.page:
        put("soak", f"{described(this)}\n\n{as_markdown(found)}")


if __name__ == "__main__":
    main()

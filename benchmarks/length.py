"""What a step costs in a long saga, and an item in a long list: `make bench-length`, or smaller:
`make bench-length ARGS="--steps 600 --items 1500 --rounds 1"`.

Processor time of one process in which everything runs, on the memory broker and SQLite files: it moves little when the
machine is busy. Short and long sagas take turns, as many of their steps in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks.application import Adapters, Application
from benchmarks.measuring import Heard, Part
from benchmarks.neighbour import LOOPS, loop_factory
from benchmarks.page import put
from benchmarks.report import Table, as_markdown, as_text, described, spread, this_machine
from choros.app.app import App
from choros.app.service import Service
from choros.cli.garbage import search_less
from choros.messages import Command, Done, Message
from choros.roles.addresses import database_at, open_transport, store_at
from choros.runtime.client.client import Client
from choros.saga.nodes import ForEach, Step
from choros.saga.saga import Saga
from choros.sources import fresh_id
from choros.store.barrier import Transaction

SHORT, LONG, IN_FLIGHT = 3, 200, 20
AT_ONCE, WINDOW = 10, 0.05
"""Items under way at a time; the share of all whose answers are measured together."""
A_STEP, AN_ITEM = 1.2, 1.5
"""So many times as much it may cost at most, in the long one and at the end."""
_LONG = timedelta(minutes=30)


class Walk(Message, name="length.walk"):
    """Begins a saga."""

    number: str
    items: int = 0


class Pace(Command[Done], name="length.pace"):
    """What is done in each step, and for each item."""

    number: str


class Back(Command[Done], name="length.back"):
    """What would undo it."""

    number: str


def pace(walk: Walk) -> Pace:
    """A step."""
    return Pace(number=walk.number)


def back(walk: Walk) -> Back:
    """Its undo."""
    return Back(number=walk.number)


def stones(walk: Walk) -> list[int]:
    """The items."""
    return list(range(walk.items))


def pace_on(walk: Walk, stone: int) -> Pace:
    """A step for one of them."""
    return Pace(number=f"{walk.number} {stone}")


def walk_of(steps: int) -> Saga[Walk]:
    """A saga of so many steps."""
    return _saga(f"walk-{steps}", *(Step(pace, to="road", compensation=back, name=f"pace_{at}") for at in range(steps)))


def _saga(name: str, *steps: ForEach | Step) -> Saga[Walk]:
    return Saga(name, version=1, start=Walk, key=lambda walk: walk.number, steps=steps)


SAGAS = {steps: walk_of(steps) for steps in (SHORT, LONG)}
over_stones = _saga("stones", ForEach(stones, Step(pace_on, to="road", compensation=back), at_once=AT_ONCE))


@dataclass(frozen=True)
class Walks:
    """Carries sagas out."""

    client: Client

    async def carry_out(self, saga: str) -> None:
        """One of three steps."""
        await self.walk(SAGAS[SHORT], Walk(number=saga))

    async def walk(self, saga: Saga[Walk], start: Walk) -> None:
        """One of these."""
        outcome = await self.client.run(saga, start, timeout=_LONG)
        if outcome.status != "completed":
            raise AssertionError(f"Saga {start.number} ended {outcome.status}.")


@dataclass(frozen=True)
class Walked(Application):
    """Everything in one process; nobody subscribes to anything."""

    paces: Callable[[], object] = field(default=list)
    """Told of each step."""

    def app(self, heard: Heard) -> App:
        """What is declared."""
        road = Service("road", commands=(Back,))
        paces = self.paces

        @road.handles(Pace)
        async def paced(command: Pace, db: Transaction) -> Done:
            paces()
            return Done()

        return App(self.namespace, name="walks", sagas=(*SAGAS.values(), over_stones), services=(road,))

    def shop(self, app: App, client: Client) -> Walks:
        """What carries sagas out."""
        return Walks(client)


def walked(folder: Path, paces: Callable[[], object] = list) -> Walked:
    """In these files."""
    namespace = f"length-{fresh_id()[-12:]}"
    adapters = Adapters(
        partial(open_transport, "memory://", namespace, "bench"),
        partial(store_at, f"sqlite:///{folder}/{namespace}.db", f"{namespace}.walks"),
        lambda service: database_at(f"sqlite:///{folder}/{namespace}-{service}.db"),
    )
    return Walked(namespace, adapters, paces=paces)


# --- what is measured -------------------------------------------------------------------------------------------------


async def steps_of(walks: Walks, steps: int, sagas: int) -> float:
    """Microseconds of the processor for a step, in sagas of so many."""
    numbers, began = iter(range(sagas)), time.process_time()

    async def one_after_another() -> None:
        for _ in numbers:
            await walks.walk(SAGAS[steps], Walk(number=fresh_id()))

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(one_after_another())
    return (time.process_time() - began) * 1e6 / (steps * sagas)


async def rounds(folder: Path, steps: int, times: int) -> list[tuple[float, float]]:
    """Of each round, a step in short sagas and one in long ones."""
    async with walked(folder).opened(Part.WHOLE, _unheard) as walks:
        assert isinstance(walks, Walks)
        for length in SAGAS:  # whatever is done once only
            await steps_of(walks, length, IN_FLIGHT)
        return [
            (await steps_of(walks, SHORT, steps // SHORT), await steps_of(walks, LONG, max(1, steps // LONG)))
            for _ in range(times)
        ]


async def along(folder: Path, items: int) -> tuple[float, float]:
    """Microseconds of the processor for an item, near the beginning and at the end."""
    at: dict[int, float] = {}
    numbers = count(1)
    async with walked(folder, lambda: at.setdefault(next(numbers), time.process_time())).opened(
        Part.WHOLE, _unheard
    ) as walks:
        assert isinstance(walks, Walks)
        await walks.walk(over_stones, Walk(number="all", items=items))
    window = int(items * WINDOW)
    early, late = at[AT_ONCE + window] - at[AT_ONCE], at[items - AT_ONCE] - at[items - AT_ONCE - window]
    return early * 1e6 / window, late * 1e6 / window


def _unheard(_: str) -> None:
    """There are no facts."""


def table(found: Sequence[tuple[float, float]], items: int, ends: tuple[float, float]) -> Table:
    """A row for each, and whether the long one costs as much as it may."""
    shares = [long / short for short, long in found]
    share = ends[1] / ends[0]
    window = int(items * WINDOW)
    return [
        ("one", "µs of CPU", "beside the one above", "at most"),
        (f"step of a saga of {SHORT}", f"{median(short for short, _ in found):.0f}", "", ""),
        (
            f"step of a saga of {LONG}",
            f"{median(long for _, long in found):.0f}",
            spread(shares),
            f"{A_STEP}: {_held(median(shares), A_STEP)}",
        ),
        (f"item of the first {window:,} of {items:,}", f"{ends[0]:.0f}", "", ""),
        (
            f"item of the last {window:,} of {items:,}",
            f"{ends[1]:.0f}",
            f"{share:.2f}",
            f"{AN_ITEM}: {_held(share, AN_ITEM)}",
        ),
    ]


def _held(share: float, most: float) -> str:
    return "yes" if share <= most else "**no**"


async def measured(options: argparse.Namespace) -> Table:
    """The table."""
    with tempfile.TemporaryDirectory(prefix="choros-length-") as folder:
        found = await rounds(Path(folder), options.steps, options.rounds)
        print(found, file=sys.stderr, flush=True)
        return table(found, options.items, await along(Path(folder), options.items))


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--steps", type=int, default=4_000, help="in a measurement")
    given.add_argument("--items", type=int, default=10_000, help="of the list")
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    options = given.parse_args()
    logging.getLogger("choros").setLevel(logging.CRITICAL)
    this = described(this_machine(LOOPS[0]))
    search_less()
    with asyncio.Runner(loop_factory=loop_factory(LOOPS[0])) as runner:
        found = runner.run(measured(options))
    print(f"{this}\n\n{as_text(found)}")
    if options.page:
        put("length", f"{this}\n\n{as_markdown(found)}")


if __name__ == "__main__":
    main()

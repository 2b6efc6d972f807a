"""`choros demo`: its options, and the run from the first order to the balanced books."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from choros import Addresses, ChorosError, Service, UsageError
from choros.cli.departure import Leaving
from choros.cli.garbage import search_less
from choros.cli.options import run_until_done
from choros.cli.progress import waiting
from choros.cli.verbosity import log_level
from choros.cli.verbs import Verbs
from choros.errors import unknown
from choros.roles.loading import load_app
from choros.telemetry.lines import configure_logging
from reference_services.books import Books, read_books
from reference_services.contracts import PlaceOrder
from reference_services.demo.by_commands import ROLES as ROLES_BY_COMMANDS
from reference_services.demo.by_commands import ProcessesByCommands
from reference_services.demo.by_events import ROLES as ROLES_BY_EVENTS
from reference_services.demo.by_events import ProcessesByEvents, one_process_by_events
from reference_services.demo.one_process import one_process
from reference_services.demo.postgresql import in_postgresql
from reference_services.demo.processes import ROLES, Plugged, Processes, processes
from reference_services.demo.report import Report
from reference_services.demo.shop import Placed, Shop
from reference_services.demo.tidy import tidy
from reference_services.demo.watching import watched
from reference_services.orders import OrderFile, read_orders
from reference_services.sample_orders import sample_orders
from reference_services.sql import POSTGRESQL

DRAIN_SECONDS = 60.0


class Variant(StrEnum):
    """Who sees to an order."""

    HYBRID = "hybrid"
    ORCHESTRATED = "orchestrated"
    CHOREOGRAPHED = "choreographed"


PARTS: Mapping[Variant, Mapping[str, Sequence[str]]] = {
    Variant.HYBRID: ROLES, Variant.ORCHESTRATED: ROLES_BY_COMMANDS, Variant.CHOREOGRAPHED: ROLES_BY_EVENTS,
}  # fmt: skip
"""The processes of each."""
_SHOPS: Mapping[Variant, type[Processes]] = {
    Variant.HYBRID: Processes, Variant.ORCHESTRATED: ProcessesByCommands, Variant.CHOREOGRAPHED: ProcessesByEvents,
}  # fmt: skip
_OPENED: Mapping[Variant, Callable[[Path, Addresses, Sequence[Service]], AbstractAsyncContextManager[Shop]]] = {
    Variant.HYBRID: one_process, Variant.ORCHESTRATED: partial(one_process, orchestrated=True),
    Variant.CHOREOGRAPHED: one_process_by_events,
}  # fmt: skip
_demo = Verbs(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
EXAMPLES = [
    "demo", "demo --variant choreographed", "demo --variant orchestrated", "demo --postgres",
    "demo --orders online_retail.csv",
    "demo --broker amqp://localhost/ --kill payment",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    orders: Path | None
    count: int
    seed: int
    addresses: Addresses
    folder: Path
    concurrency: int
    kill: Sequence[str]
    outcomes: Path | None
    own_processes: bool
    plugs: Sequence[str]
    variant: Variant
    postgres: bool


def run(arguments: Sequence[str]) -> int:
    """Run the demo with command-line arguments; returns the exit code, raises ChorosError."""
    result = typer.main.get_command(_demo).main(list(arguments), prog_name="choros demo", standalone_mode=False)
    return int(result or 0)


@_demo.command(examples=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
def demo(
    orders: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a CSV file of invoices; without it, orders are made up")
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="how many orders to make up")] = 60,
    seed: Annotated[int, typer.Option(metavar="N", help="what the made-up orders follow from")] = 7,
    broker: Annotated[
        str, typer.Option(metavar="URL", help="memory:// (one process) or amqp://... (many)")
    ] = "memory://",
    store: Annotated[
        str, typer.Option(metavar="URL", help="sqlite:///file, redis://... or memory://; in the folder by default")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="where the databases and logs go; a fresh one if not given")
    ] = None,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="orders under way at once")] = 50,
    kill: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help=f"kill -9 a process in mid-run: {', '.join(ROLES)}")
    ] = None,
    plug: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="package.module of a subscriber of your own")
    ] = None,
    variant: Annotated[
        Variant,
        typer.Option(help="hybrid: commanded, then events; orchestrated: all by command; choreographed: all by events"),
    ] = Variant.HYBRID,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="everything in PostgreSQL: that of --store, or one of its own")
    ] = False,
    outcomes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write every order's outcome to this file, as JSON")
    ] = None,
) -> int:
    """Place orders with the whole shop, then balance the books."""
    own_processes = not broker.startswith("memory:")
    kills = tuple(kill or ())
    _check(own_processes, store, kills, PARTS[variant])
    if postgres:
        _check_postgres(store, variant)
    target = folder or Path(".choros") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    _make_empty(target)
    target = target.resolve()
    if outcomes:
        _check_writable(outcomes)
    addresses = Addresses(broker, store or f"sqlite:///{target}/sagas.db", f"sqlite:///{target}/{{service}}.db")
    configure_logging(
        "demo", level=log_level("CRITICAL" if own_processes else "ERROR")
    )  # each process has a log of its own
    if Leaving.owns_process:
        search_less()
    return run_until_done(
        _run(
            Options(
                orders,
                count,
                seed,
                addresses,
                target,
                concurrency,
                kills,
                outcomes,
                own_processes,
                tuple(plug or ()),
                variant,
                postgres,
            )
        )
    )


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be used: {error.strerror}.", "another --folder.") from None
    if not empty:
        raise UsageError(f"The folder {folder} is not empty.", "another --folder: old books do not balance with new.")


def _check_writable(path: Path) -> None:
    """Before the run: it would be a pity to find out afterwards."""
    try:
        path.open("a").close()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "another path for --outcomes.") from None


def _check(own_processes: bool, store: str, kills: Sequence[str], roles: Collection[str]) -> None:
    if own_processes and store.startswith("memory:"):
        raise UsageError("Processes cannot share a store in memory.", "--store redis://... or sqlite:///file.")
    for role in kills:
        if role not in roles:
            raise UsageError(*unknown(f"There is no process {role!r} to kill.", role, roles))
        if not own_processes:
            raise UsageError("In one process there is nothing to kill.", "--broker amqp://...")


def _check_postgres(store: str, variant: Variant) -> None:
    if store and not store.startswith(POSTGRESQL):
        raise UsageError("With --postgres, the sagas are there too.", "--store postgresql://..., or none.")
    if variant is Variant.CHOREOGRAPHED:
        raise UsageError(f"The {variant} shop keeps its books in SQLite.", "--postgres without --variant.")


async def _run(options: Options) -> int:
    """Where everything is, and then all of it."""
    if not options.postgres:
        return await _traded(options)
    async with in_postgresql(
        options.addresses, [one.name for plug in options.plugs for one in _subscribers(plug)]
    ) as there:
        return await _traded(replace(options, addresses=there))


async def _traded(options: Options) -> int:
    file = read_orders(options.orders) if options.orders else _made_up(options)
    plugged = {plug: _subscribers(plug) for plug in options.plugs}
    report = Report(sys.stdout)
    report.opening(options.addresses, file, options.own_processes, options.folder, options.variant)
    async with AsyncExitStack() as stack:
        async with waiting("opening the shop"):
            shop = await stack.enter_async_context(_open_shop(options, plugged, report))
        started = time.perf_counter()
        placed = await _trade(shop, options, file.orders, report)
        seconds = time.perf_counter() - started
        async with waiting("subscribers hear of the last facts; balancing the books"):
            books = await _balanced(options.addresses.database, file.orders, placed)
        report.story(await _story(shop, placed))
    report.closing(placed, books, seconds, options.folder, options.addresses.store, options.variant)
    if options.outcomes:
        options.outcomes.write_text(json.dumps({p.order_id: p.outcome for p in placed}, indent=1, sort_keys=True))
    return 0 if books.balanced else 1


def _made_up(options: Options) -> OrderFile:
    return OrderFile(sample_orders(options.count, options.seed), (), ())


@asynccontextmanager
async def _open_shop(options: Options, plugged: Plugged, report: Report) -> AsyncIterator[Shop]:
    """A namespace of its own keeps this run apart from others on a shared broker and store."""
    services = [service for several in plugged.values() for service in several]
    if not options.own_processes:
        async with _OPENED[options.variant](options.folder, options.addresses, services) as shop:
            yield shop
        return
    namespace = f"shop-{uuid.uuid4().hex[:8]}"
    try:
        kind, parts = _SHOPS[options.variant], PARTS[options.variant]
        opened = processes(options.folder, options.addresses, namespace, plugged, kind=kind, parts=parts)
        async with opened as many, watched(many, report):
            yield many
    finally:
        await tidy(options.addresses, namespace, [service.name for service in services])


def _subscribers(plug: str) -> Sequence[Service]:
    """The subscribers of an application of the user's."""
    found = [service for service in load_app(plug).services.values() if service.reactions]
    if not found:
        raise UsageError(f"{plug} has no subscriber.", "@service.on(OrderConfirmed), see README.md.")
    return found


async def _trade(shop: Shop, options: Options, orders: Sequence[PlaceOrder], report: Report) -> list[Placed]:
    """Place all orders, so many at once; processes are killed when a third of them is done."""
    try:
        return await _place_all(shop, options, orders, report)
    except ExceptionGroup as group:
        known = group.subgroup(ChorosError)
        if known is None:
            raise
        raise known.exceptions[0] from None  # one is enough to say what is wrong
    finally:
        report.end_progress()


async def _place_all(shop: Shop, options: Options, orders: Sequence[PlaceOrder], report: Report) -> list[Placed]:
    slots, placed = asyncio.Semaphore(options.concurrency), list[Placed]()
    third = asyncio.Event()

    async def place(order: PlaceOrder) -> None:
        async with slots:
            placed.append(await shop.place(order))
            report.progress(len(placed), len(orders))
            if len(placed) * 3 >= len(orders):
                third.set()

    async with asyncio.TaskGroup() as group:
        if isinstance(shop, Processes):
            group.create_task(_kill(shop, options.kill, third, report))
        for order in orders:
            group.create_task(place(order))
        if not orders:
            third.set()
    return sorted(placed, key=lambda one: one.order_id)


async def _kill(shop: Processes, roles: Sequence[str], third: asyncio.Event, report: Report) -> None:
    await third.wait()
    for role in roles:
        await shop.kill(role)
        report.killed(role)
        await asyncio.sleep(1)
        await shop.start(role)


async def _balanced(place: str, orders: Sequence[PlaceOrder], placed: Sequence[Placed]) -> Books:
    """Nobody tells when subscribers are through with their facts, so look until the books balance, or give up."""
    statuses = {one.order_id: one.status for one in placed}
    give_up = time.monotonic() + DRAIN_SECONDS
    while True:
        books = await asyncio.to_thread(read_books, place, orders, statuses)
        if books.balanced or time.monotonic() > give_up:
            return books
        await asyncio.sleep(0.3)


async def _story(shop: Shop, placed: Sequence[Placed]) -> Sequence[str]:
    """One compensated order, a damaged parcel if there is one."""
    undone = [one for one in placed if one.status == "compensated"]
    chosen = next((one for one in undone if one.reason == "damaged_in_transit"), undone[0] if undone else None)
    return await shop.timeline(chosen.saga_id) if chosen else ()

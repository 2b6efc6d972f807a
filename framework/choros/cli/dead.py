"""`choros dead`: what is parked for a person, and what that person does with it."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Any

import typer

from choros.cli.acts import By, whoever
from choros.cli.asking import AppName, Broker, Output, log_apart, run_until_done
from choros.cli.letters import ACTS, columns, lines_of, row_of, whole_of
from choros.cli.output import format_named, remark, tell_rows, tell_value
from choros.cli.progress import Working, working
from choros.cli.verbs import Verbs
from choros.cli.words import moment
from choros.errors import UsageError, unknown
from choros.loading import load_app
from choros.roles import DEFAULT_BROKER, Addresses, connected
from choros.runtime.application import App
from choros.runtime.parkings import Listing, Wanted, dead_queues, found, listing
from choros.runtime.redriving import Act, Acts, Done, act_on_all
from choros.runtime.signature import Signature
from choros.sources import now
from choros.transport.looking import LookingTransport
from choros.transport.permissions import operator
from choros.transport.refusals import NotDeclared
from choros.transport.topology import Names, acts_topology

app = Verbs(help="Look at what is parked, put it back, or drop it.")
KINDS = ("command", "reply", "fact")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="as dead list shows them")]
OneId = Annotated[str, typer.Argument(metavar="ID", help="as dead list shows it")]
Queue = Annotated[str, typer.Option(metavar="NAME", help="parked from this queue: its name, or the last part of it")]
OfKind = Annotated[str, typer.Option("--kind", metavar="KIND", help=", ".join(KINDS))]
OfType = Annotated[str, typer.Option("--type", metavar="TYPE", help="of this type, with or without its version")]
Because = Annotated[str, typer.Option(metavar="TEXT", help="with this in the reason why it was parked")]
OfSaga = Annotated[str, typer.Option("--saga", metavar="NAME", help="of this saga: its name, or an instance's id")]
Step = Annotated[str, typer.Option(metavar="NAME", help="of this step")]
Old = Annotated[str, typer.Option("--older-than", metavar="AGE", help="parked before: 2h, 7d, or 2026-11-22T12:00")]
New = Annotated[str, typer.Option("--newer-than", metavar="AGE", help="parked since: 2h, 7d, or 2026-11-22T12:00")]
All = Annotated[bool, typer.Option("--all", help="all of them, where nothing else says which")]
Most = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="so many at most")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="why; it is kept in the record of the act")]
Yes = Annotated[bool, typer.Option("--yes", help="without being asked")]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the dead letters of an application are, and who looks at them."""

    transport: LookingTransport
    queues: Sequence[str]
    names: Names


@app.command(
    "list", examples=["dead list shop", "dead list shop --kind fact --older-than 2h", "dead list shop -o json"]
)
def dead_list(
    application: AppName,
    queue: Queue = "",
    kind: OfKind = "",
    type_: OfType = "",
    because: Because = "",
    saga: OfSaga = "",
    step: Step = "",
    older: Old = "",
    newer: New = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="how many at most")] = 50,
    skip: Annotated[int, typer.Option(min=0, metavar="N", help="pass over so many first")] = 0,
    broker: Broker = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """List what is parked, queue by queue, the oldest of each first. Nothing is taken out."""
    log_apart()
    shape = format_named(output)
    wanted = _wanted(None, queue, kind, type_, because, saga, step, older, newer)
    loaded = load_app(application)

    async def look() -> Listing:
        async with _desk(loaded, broker) as desk:
            with working("dead letters looked at") as told:
                return await listing(
                    desk.transport, desk.queues, desk.names, wanted, limit=limit, skip=skip, told=told.at
                )

    listed = run_until_done(look())
    tell_rows([row_of(one) for one in listed.found], columns(now()), shape, none="no dead letters")
    if listed.count > skip + len(listed.found):
        remark(f"! {listed.count:,} in all; --skip {skip + limit} shows those behind these")
    _tell_missing(listed.missing)


@app.command("show", examples=["dead show shop 1d1f5763e636"])
def dead_show(
    application: AppName, letter_id: OneId, broker: Broker = DEFAULT_BROKER, output: Output = "table"
) -> None:
    """Show one dead letter, with its body."""
    log_apart()
    shape = format_named(output)
    loaded = load_app(application)

    async def look() -> Any:
        async with _desk(loaded, broker) as desk:
            return await found(desk.transport, desk.queues, desk.names, letter_id)

    one = run_until_done(look())
    if one is None:
        raise no_such([letter_id])
    letter, delivery = one
    if shape == "table":
        print("\n".join(lines_of(letter, delivery.wire)))
    else:
        tell_value(whole_of(letter, delivery.wire), shape)


@app.command(
    "redrive",
    examples=['dead redrive shop 1d1f5763e636 --reason "deployed 1.4.2"', "dead redrive shop --queue notifications"],
)
def dead_redrive(
    application: AppName,
    ids: Ids = None,
    everything: All = False,
    queue: Queue = "",
    kind: OfKind = "",
    type_: OfType = "",
    because: Because = "",
    saga: OfSaga = "",
    step: Step = "",
    older: Old = "",
    newer: New = "",
    limit: Most = None,
    by: By = "",
    reason: Reason = "",
    broker: Broker = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Put dead letters back to where they were parked from: some by their ids, or all that the options say.

    Who has handled one already knows it again, so nothing is done twice. What fails again is parked again."""
    wanted = _wanted(ids, queue, kind, type_, because, saga, step, older, newer)
    _check_said(wanted, everything)
    _act("redrive", application, wanted, Signature(by or whoever(), reason), broker, output, limit)


@app.command("drop", examples=['dead drop shop 1d1f5763e636 --reason "test data"'])
def dead_drop(
    application: AppName,
    reason: Reason,
    ids: Ids = None,
    everything: All = False,
    queue: Queue = "",
    kind: OfKind = "",
    type_: OfType = "",
    because: Because = "",
    saga: OfSaga = "",
    step: Step = "",
    older: Old = "",
    newer: New = "",
    limit: Most = None,
    yes: Yes = False,
    by: By = "",
    broker: Broker = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Let go of dead letters for good. The record of it keeps the beginning of each (`choros dead acts`)."""
    wanted = _wanted(ids, queue, kind, type_, because, saga, step, older, newer)
    _check_said(wanted, everything)
    wanted = replace(wanted, before=min(wanted.before, now()))  # what comes meanwhile nobody has been asked for
    if not yes:
        limit = _asked(application, wanted, broker, limit)
    _act("drop", application, wanted, Signature(by or whoever(), reason), broker, output, limit)


@app.command("acts", examples=["dead acts shop", "dead acts shop -o json"])
def dead_acts(
    application: AppName,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="how many at most")] = 50,
    broker: Broker = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Say who did what with dead letters, when and why: the last acts, the oldest first. The broker keeps 100,000."""
    log_apart()
    shape = format_named(output)
    loaded = load_app(application)
    tell_rows(list(run_until_done(_acts(loaded, broker, limit))), ACTS, shape, none="nobody has done anything")


async def _acts(loaded: App, broker: str, limit: int) -> deque[dict[str, Any]]:
    last: deque[dict[str, Any]] = deque(maxlen=limit)
    async with _desk(loaded, broker) as desk:
        look = await desk.transport.look(desk.names.acts)
        try:
            while delivery := await look.take():
                last.append(json.loads(delivery.wire.body))
        except NotDeclared:
            return last
        finally:
            await look.close()
    return last


# --- acting -----------------------------------------------------------------------------------------------------------


def _act(
    verb: str, application: str, wanted: Wanted, by: Signature, broker: str, output: str, limit: int | None
) -> None:
    """Do it to all that are wanted and say what came of it; exits with 1 if any is left, or was not there."""
    log_apart()
    shape = format_named(output)
    loaded = load_app(application)

    async def act(told: Working) -> list[Done]:
        async with acting(loaded, broker) as desk:
            acts = Acts(desk.transport, desk.names, by)
            does: Act = acts.drop if verb == "drop" else acts.redrive
            return [done async for done in _counted(act_on_all(
                desk.transport, desk.queues, desk.names, wanted, does, most=limit or sys.maxsize,
            ), told)]  # fmt: skip

    with working("dead letters") as told:
        all_done = run_until_done(act(told))
    tell_done(verb, all_done, shape)
    if lacking := wanted.ids - {done.letter.id for done in all_done}:
        raise no_such(sorted(lacking))
    if any(done.left for done in all_done):
        raise typer.Exit(1)


async def _counted(doing: AsyncIterator[Done], told: Working) -> AsyncIterator[Done]:
    count = 0
    async for done in doing:
        told.at(count := count + 1)
        yield done


_DONE = {"redrive": "put back", "edit": "edited and put back", "drop": "dropped"}


def tell_done(verb: str, all_done: Sequence[Done], shape: str) -> None:
    """What came of it, in one sentence and one for each that is left."""
    if shape != "table":
        rows = [row_of(done.letter) | {"done": not done.left, "left": done.left} for done in all_done]
        tell_rows(rows, (), shape, none="no dead letters")
        return
    left = [done for done in all_done if done.left]
    for done in left:
        remark(f"✖ {done.letter.id} stays parked: {done.left}")
    count = len(all_done) - len(left)
    print(f"{'✖' if left else '✔'} {count} {_DONE[verb]}{f', {len(left)} left' if left else ''}")


def _asked(application: str, wanted: Wanted, broker: str, limit: int | None) -> int | None:
    """Ask on a terminal, with their number; elsewhere nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here whether to drop them.", "--yes, if you are sure.")
    loaded = load_app(application)

    async def count() -> Listing:
        async with _desk(loaded, broker) as desk:
            return await listing(desk.transport, desk.queues, desk.names, wanted, limit=0)

    log_apart()
    number = min(run_until_done(count()).count, limit or sys.maxsize)
    typer.confirm(f"Drop {number} dead letter{'' if number == 1 else 's'} for good?", abort=True)
    return number


@asynccontextmanager
async def _desk(loaded: App, broker: str) -> AsyncIterator[Desk]:
    if broker.startswith("memory:"):
        raise UsageError("A broker in memory ends with this command.", "--broker amqp://...")
    names = Names(loaded.namespace)
    async with connected(Addresses(broker), loaded, "dead letters") as transport:
        yield Desk(transport, dead_queues(loaded.topology, names), names)


@asynccontextmanager
async def acting(loaded: App, broker: str) -> AsyncIterator[Desk]:
    """A desk whose acts can be put on record, of somebody who may put messages back."""
    async with _desk(loaded, broker) as desk:
        writes = operator(desk.names, loaded.topology).writes
        await desk.transport.declare(replace(acts_topology(loaded.namespace), writes=writes))
        yield desk


# --- what was typed ---------------------------------------------------------------------------------------------------


def _wanted(
    ids: list[str] | None, queue: str, kind: str, type_: str, because: str, saga: str, step: str, older: str, newer: str
) -> Wanted:
    if kind and kind not in KINDS:
        raise UsageError(*unknown(f"There is no kind {kind!r}.", kind, KINDS))
    return Wanted(
        ids=frozenset(ids or ()),
        queue=queue,
        kind=kind,
        type=type_,
        reason=because,
        saga=saga,
        step=step,
        before=moment(older, now(), "--older-than") if older else inf,
        since=moment(newer, now(), "--newer-than") if newer else 0.0,
    )


def _check_said(wanted: Wanted, everything: bool) -> None:
    if (wanted == Wanted()) is not everything:
        what = "Which ones?" if wanted == Wanted() else "--all, and which ones?"
        raise UsageError(what, "their ids, options such as --queue or --type, or --all alone.")


def no_such(ids: Sequence[str]) -> UsageError:
    """The error for ids that nothing goes by."""
    what = f"is no dead letter {ids[0]!r}" if len(ids) == 1 else f"are no dead letters {', '.join(ids)}"
    return UsageError(f"There {what} now.", "choros dead list; or again, if somebody else is looking at them just now.")


def _tell_missing(missing: Sequence[str]) -> None:
    for queue in missing:
        remark(f"! the queue {queue} is not there: choros topology apply declares it")

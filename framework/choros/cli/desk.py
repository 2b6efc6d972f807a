"""What the commands on dead letters share: which are meant, and the way to them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated

import typer

from choros.app.app import App
from choros.cli.words import moment
from choros.desk.parkings import Parkings, Shown, WantedLetters, dead_queues
from choros.errors import UsageError, unknown
from choros.roles.addresses import Addresses, connected
from choros.sources import now
from choros.transport.acts import acts_topology
from choros.transport.permissions import operator
from choros.transport.topology import Names

KINDS = ("command", "reply", "fact", "signal")

LetterIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="as dead list shows them")]
OneId = Annotated[str, typer.Argument(metavar="ID", help="as dead list shows it")]
OfSaga = Annotated[str, typer.Option("--saga", metavar="NAME", help="of this saga: its name, or an instance's id")]
All = Annotated[bool, typer.Option("--all", help="all of them, where nothing else says which")]
Most = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="so many at most")]
LetterReason = Annotated[str, typer.Option(metavar="TEXT", help="why; it is kept in the record of the act")]
Yes = Annotated[bool, typer.Option("--yes", help="without being asked")]


@dataclass(frozen=True, slots=True)
class Which:
    """Which dead letters are meant: those of which all is true that is said."""

    queue: Annotated[
        str, typer.Option(metavar="NAME", help="parked from this queue: its name, or the last part of it")
    ] = ""
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help=", ".join(KINDS))] = ""
    type_: Annotated[str, typer.Option("--type", metavar="TYPE", help="of this type, with or without its version")] = ""
    because: Annotated[str, typer.Option(metavar="TEXT", help="with this in the reason why it was parked")] = ""
    saga: OfSaga = ""
    step: Annotated[str, typer.Option(metavar="NAME", help="of this step")] = ""
    older: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="parked before: 2h, 7d, or 2026-11-22T12:00")
    ] = ""
    newer: Annotated[
        str, typer.Option("--newer-than", metavar="AGE", help="parked since: 2h, 7d, or 2026-11-22T12:00")
    ] = ""

    def wanted(self, ids: Sequence[str] | None = None) -> WantedLetters:
        """As the desk knows it; raises UsageError for a kind or a time that there is not."""
        if self.kind and self.kind not in KINDS:
            raise UsageError(*unknown(f"There is no kind {self.kind!r}.", self.kind, KINDS))
        return WantedLetters(
            ids=frozenset(ids or ()),
            queue=self.queue,
            kind=self.kind,
            type=self.type_,
            reason=self.because,
            saga=self.saga,
            step=self.step,
            before=moment(self.older, now(), "--older-than") if self.older else inf,
            since=moment(self.newer, now(), "--newer-than") if self.newer else 0.0,
        )


@asynccontextmanager
async def desk_of(loaded: App, broker: str) -> AsyncIterator[Parkings]:
    """The desk of an application, for as long as the block runs."""
    if broker.startswith("memory:"):
        raise UsageError("A broker in memory ends with this command.", "--broker amqp://...")
    names = Names(loaded.namespace)
    async with connected(Addresses(broker), loaded, "dead letters") as transport:
        yield Parkings(transport, dead_queues(loaded.topology, names), names)


@asynccontextmanager
async def acting(loaded: App, broker: str) -> AsyncIterator[Parkings]:
    """A desk whose acts can be put on record, of somebody who may put messages back."""
    async with desk_of(loaded, broker) as desk:
        writes = operator(desk.names, loaded.topology).writes
        await desk.transport.declare(replace(acts_topology(loaded.namespace), writes=writes))
        yield desk


async def letter_of(loaded: App, broker: str, letter_id: str) -> Shown:
    """One by its id, to be read; raises UsageError where there is none."""
    async with desk_of(loaded, broker) as desk:
        one = await desk.find(letter_id)
    if one is None:
        raise no_such([letter_id])
    return one


def check_said(wanted: WantedLetters, everything: bool) -> None:
    """Raises UsageError where nothing says which ones, or --all and something else do."""
    if (wanted == WantedLetters()) is not everything:
        what = "Which ones?" if wanted == WantedLetters() else "--all, and which ones?"
        raise UsageError(what, "their ids, options such as --queue or --type, or --all alone.")


def no_such(ids: Sequence[str]) -> UsageError:
    """The error for ids that nothing goes by."""
    what = f"is no dead letter {ids[0]!r}" if len(ids) == 1 else f"are no dead letters {', '.join(ids)}"
    return UsageError(f"There {what} now.", "choros dead list; or again, if somebody else is looking at them just now.")

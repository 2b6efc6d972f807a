"""`choros dead redrive|edit|drop`: what a person does with what is parked, on record."""

import sys
from collections.abc import Collection
from typing import Annotated

import typer

from choros.cli.desk import (
    All,
    LetterIds,
    LetterReason,
    Most,
    OneId,
    Which,
    Yes,
    acting,
    check_said,
    desk_of,
    letter_of,
    no_such,
)
from choros.cli.editor import edited
from choros.cli.letters import row_of
from choros.cli.options import AppName, BrokerUrl, Output, loaded_apart, run_until_done
from choros.cli.output import is_terminal, remark, tell_rows
from choros.cli.progress import Working, working
from choros.cli.signature import By, whoever
from choros.cli.verbs import Verbs
from choros.desk.dead_letters import DeadLetter
from choros.desk.edits import body_of, check_taken, with_body
from choros.desk.parkings import Listing, WantedLetters
from choros.desk.redrive import ActedOn, Acts, LetterAct, act_on_all
from choros.errors import MessageRejected, UsageError
from choros.roles.addresses import DEFAULT_BROKER
from choros.runtime.orchestrator.signature import Signature
from choros.transport.port import Delivery

app = Verbs()
MOST_TOLD = 20
"""Of those that are left."""


@app.command(
    "redrive",
    examples=['dead redrive shop 1d1f5763e636 --reason "deployed 1.4.2"', "dead redrive shop --queue notifications"],
)
def dead_redrive(
    application: AppName,
    *,
    ids: LetterIds = None,
    everything: All = False,
    which: Which,
    limit: Most = None,
    by: By = "",
    reason: LetterReason = "",
    broker: BrokerUrl = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Put dead letters back to where they were parked from: some by their ids, or all that the options say.

    Who has handled one already knows it again, so nothing is done twice. What fails again is parked again."""
    wanted = which.wanted(ids)
    check_said(wanted, everything)
    act("redrive", application, wanted, Signature(by or whoever(), reason), broker, output, limit)


@app.command(
    "edit",
    examples=[
        "dead edit shop 1d1f5763e636 --set body.amount=12.5 --reason typo",
        'dead edit shop 1d1f5763e636 --body body.json --reason "a new one"',
    ],
)
def dead_edit(
    application: AppName,
    letter_id: OneId,
    reason: LetterReason,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="body.PATH=VALUE", help="a value: JSON, or else a text")
    ] = None,
    body: Annotated[str, typer.Option(metavar="FILE", help="the whole body; - for standard input")] = "",
    by: By = "",
    broker: BrokerUrl = DEFAULT_BROKER,
) -> None:
    """Change the body of a dead letter and put it back; without --set and --body in your EDITOR.

    All that its receiver knows it by stays, so who has carried out the first one does nothing again. A body that would
    be parked again is refused."""
    loaded = loaded_apart(application)
    letter, delivery = run_until_done(letter_of(loaded, broker, letter_id))
    before = body_of(delivery.wire)
    try:
        wire = with_body(delivery.wire, edited(before, sets or (), body))
        check_taken(loaded, letter, wire, before)
    except MessageRejected as rejected:
        raise UsageError(
            f"It would be parked again: {rejected.sentence}", "choros dead show, and another value."
        ) from None

    async def act() -> None:
        async with acting(loaded, broker) as desk:
            acts = Acts(desk.transport, desk.names, Signature(by or whoever(), reason))
            only = WantedLetters(ids=frozenset([letter_id]))

            async def edit(letter: DeadLetter, delivery: Delivery) -> ActedOn:
                return await acts.edit(letter, delivery, wire)

            async for done in act_on_all(desk, only, edit, most=1):
                tally.add(done)

    tally = LetterTally("edit", [letter_id])
    run_until_done(act())
    tally.tell("table")


@app.command("drop", examples=['dead drop shop 1d1f5763e636 --reason "test data"'])
def dead_drop(
    application: AppName,
    *,
    reason: LetterReason,
    ids: LetterIds = None,
    everything: All = False,
    which: Which,
    limit: Most = None,
    yes: Yes = False,
    by: By = "",
    broker: BrokerUrl = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Let go of dead letters for good. The record of it keeps the beginning of each (`choros dead acts`)."""
    wanted = which.wanted(ids)
    check_said(wanted, everything)
    if not yes:
        limit = _asked(application, wanted, broker, limit)
    act("drop", application, wanted, Signature(by or whoever(), reason), broker, output, limit)


# --- acting -----------------------------------------------------------------------------------------------------------


def act(
    verb: str, application: str, wanted: WantedLetters, by: Signature, broker: str, output: str, limit: int | None
) -> None:
    """Do it to all that are wanted and say what came of it; exits with 1 if any is left, or was not there."""
    loaded = loaded_apart(application)

    async def do(told: Working) -> None:
        async with acting(loaded, broker) as desk:
            acts = Acts(desk.transport, desk.names, by)
            does: LetterAct = {"drop": acts.drop, "fail": acts.fail}.get(verb, acts.redrive)
            most = limit or sys.maxsize
            async for done in act_on_all(desk, wanted, does, most=most):
                tally.add(done)
                told.at(tally.count)

    tally = LetterTally(verb, wanted.ids, keep=output != "table")
    with working("dead letters") as told:
        run_until_done(do(told))
    tally.tell(output)


class LetterTally:
    """What came of it: of very many only how many, and the first that are left."""

    def __init__(self, verb: str, ids: Collection[str] = (), *, keep: bool = False) -> None:
        self.count = self.left = 0
        self._verb, self._lacking, self._keep = verb, set(ids), keep
        self._kept: list[ActedOn] = []

    def add(self, done: ActedOn) -> None:
        """One more."""
        self.count += 1
        self.left += bool(done.left)
        self._lacking.discard(done.letter.id)
        if self._keep or (done.left and self.left <= MOST_TOLD):
            self._kept.append(done)

    def tell(self, output: str) -> None:
        """In one sentence, and one for each that is left; exits with 1 if any is left, or was not there."""
        if output == "table":
            self._tell_people()
        else:
            rows = [row_of(done.letter) | {"done": not done.left, "left": done.left} for done in self._kept]
            tell_rows(rows, (), output, none="no dead letters")
        if self._lacking:
            raise no_such(sorted(self._lacking))
        if self.left:
            raise typer.Exit(1)

    def _tell_people(self) -> None:
        for done in self._kept:
            remark(f"✖ {done.letter.id} stays parked: {done.left}")
        if self.left > len(self._kept):
            remark(f"  and {self.left - len(self._kept):,} more")
        left = f", {self.left:,} left" if self.left else ""
        print(f"{'✖' if self.left else '✔'} {self.count - self.left:,} {_DONE[self._verb]}{left}")


_DONE = {"redrive": "put back", "edit": "edited and put back", "drop": "dropped", "fail": "put back, to be given up"}


def _asked(application: str, wanted: WantedLetters, broker: str, limit: int | None) -> int | None:
    """How many to drop: asks on a terminal, with their number. Elsewhere nobody can be asked."""
    if not is_terminal(sys.stdin):
        raise UsageError("Nobody can be asked here whether to drop them.", "--yes, if you are sure.")
    loaded = loaded_apart(application)

    async def count() -> Listing:
        async with desk_of(loaded, broker) as desk:
            return await desk.listing(wanted, limit=0)

    number = min(run_until_done(count()).count, limit or sys.maxsize)
    if not number:
        raise no_such(sorted(wanted.ids)) if wanted.ids else UsageError("There are no such dead letters.", "dead list.")
    if not typer.confirm(f"Drop {number} dead letter{'' if number == 1 else 's'} for good?"):
        remark("nothing was dropped")
        raise typer.Exit(1)
    return number

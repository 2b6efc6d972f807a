"""The participants of an exploration: the barrier's real verdicts, on real rows that are kept as plain values.

A command meets every way in which it may end: carried out, refused, failed for now, too late; for a provider also
failed with the effect there. One of a step that may be finished later is also taken, where its effect is in the
participant's own database; then somebody outside finishes it in any of these ways, at any time, or never. A crash
before a commit leaves nothing behind and is the same as a command that has not arrived yet, so it is no event; a crash
after it is "the command comes again", which the moves add.

Two reductions. A stored OK or refusal is told as the answer to attempt 1: the machine reads the attempt of a failure
only (semantics 8), so nothing is lost. And no row says when it was written: rows are as old as their round.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from choros.errors import Refused
from choros.messages import FORGOTTEN, UNFINISHED, Closed, Command, Done, Failure, NothingToUndo, Reply
from choros.runtime.participant.verdicts import (
    CANCELLED,
    AnswerAgain,
    CarryOut,
    Conclude,
    GoesOn,
    Matter,
    Settle,
    TooOld,
    keys_of,
)
from choros.saga.machine.inputs import Answered
from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros.store.barrier import Row
from choros.values import replace
from choros.wire.command_key import CommandKey, Operation
from choros_verify.exploration.books import IN_TIME, NOT_AFTER, SHORT, TOO_LATE, Books, Ending
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.settled import undone_by_hand
from choros_verify.exploration.wire import Ordered

TRANSIENT = "ConnectionError"
Outcomes = Literal["ok", "refused", "failed"]
_MOMENTS = {"": (IN_TIME,), "ahead": (IN_TIME, TOO_LATE), "past": (TOO_LATE,), "short": (IN_TIME,)}
_DEADLINES = {"": None, "ahead": NOT_AFTER, "past": NOT_AFTER, "short": SHORT}
_SAID: dict[type[Reply], str] = {Closed: "closed", NothingToUndo: "nothing", Done: "done"}


class Participants:
    """Carries commands out. `replies` has an example of every reply; `providers` names the steps whose effect is at a
    provider outside the participant's database (semantics 16)."""

    def __init__(
        self,
        saga: Saga[Any],
        protocol: Protocol,
        replies: dict[str, str],
        providers: frozenset[str],
        refusals: int,
        answers: dict[str, Answered] | None = None,
    ) -> None:
        self._leaves = [saga.outline.commanded(path) for path in saga.outline.leaves]
        self._protocol = protocol
        self._replies = replies
        self._providers = providers
        self._refusals = refusals
        self._kept: dict[str, Answered] = {} if answers is None else answers
        """Answers by the text that stands for them in a row."""

    def carry_out(self, books: Books, ordered: Ordered) -> Sequence[Ending]:
        """Every way in which this command may end."""
        moments = _MOMENTS[ordered.deadline] if ordered.operation == "do" else (IN_TIME,)
        return list(dict.fromkeys(ending for came in moments for ending in self._judged(books, ordered, came)))

    def _judged(self, books: Books, ordered: Ordered, came: float) -> Iterator[Ending]:
        matter = self._found(books, ordered, came)
        verdict = self._protocol.judge(matter)
        if isinstance(verdict, Settle) and verdict.row.state == "unfinished":  # nobody is there to be asked
            verdict = self._protocol.judge(matter._replace(asked=True))
        match verdict:
            case GoesOn(row):
                yield self._not_yet(books, ordered, row)
            case TooOld():
                yield Ending(books, self._reply(ordered, "failed", FORGOTTEN), "forgotten")
            case AnswerAgain(row):
                yield Ending(books, self._kept[row.content], "again")
            case Settle(row):
                yield from self._settled(books, ordered, CommandKey.parse(row.key).operation)
            case CarryOut():
                yield from self._handle(books, ordered, verdict)
            case Conclude() as verdict:
                yield from self._concluded(books, ordered, verdict)

    def _found(self, books: Books, ordered: Ordered, came: float) -> Matter:
        matter = self._matter(ordered)
        rows = [books.find(key) for key in keys_of(matter.key, matter.of)]
        done, undone, closed = (*rows, None, None)[:3]
        failed = self._kept[done.content] if done is not None and done.state == "failed" else None
        repeats = failed is not None and ordered.attempt <= failed.attempt
        return matter._replace(
            came=came, done=done, undone=undone, closed=closed, horizon=books.horizon, repeats=repeats
        )

    def _matter(self, ordered: Ordered) -> Matter:
        own = f"saga{ordered.attempt}" if self._protocol.key_per_attempt else "saga"
        return Matter(
            key=CommandKey(own, self._name(ordered), ordered.round, ordered.operation),
            of=ordered.of or "do",
            site="provider" if self._name(ordered) in self._providers else "here",
            not_after=_DEADLINES[ordered.deadline],
            began=ordered.round,
        )

    # --- what was decided ---------------------------------------------------------------------------------------------

    def _concluded(self, books: Books, ordered: Ordered, verdict: Conclude) -> Iterator[Ending]:
        body = verdict.reply
        after, reply = self._written(books, ordered, verdict)
        if isinstance(body, Row):
            yield Ending(after, reply, "again")
        elif isinstance(body, Refused):
            late = body.code == "expired"
            yield Ending(after._replace(refused=after.refused or late), reply, body.code, late=late)
        else:
            leaf = self._leaves[ordered.step]
            if leaf and ordered.by_hand and isinstance(body, Closed):
                after = undone_by_hand(after, leaf)
            yield Ending(after, reply, _SAID[type(body)])
            if isinstance(body, Closed):
                yield Ending(books, self._reply(ordered, "failed", TRANSIENT), "failed")

    def _written(self, books: Books, ordered: Ordered, verdict: Conclude) -> tuple[Books, Answered]:
        """As the barrier's rows say it, but for what a mutant does not write."""
        reply = self._answer(ordered, verdict.reply)
        self._kept[text := repr(reply)] = reply
        for row in (*verdict.others, verdict.row.keeping(text)):
            books = books.keep(row) if self._protocol.writes(row) else books
        return books, reply

    def _answer(self, ordered: Ordered, body: Reply | Refused | Row) -> Answered:
        if isinstance(body, Row):
            return self._kept[body.content]
        if isinstance(body, Refused):
            return self._reply(ordered, "refused", body.code)
        return self._reply(ordered, "ok", nothing=isinstance(body, NothingToUndo))

    # --- a handler ----------------------------------------------------------------------------------------------------

    def _handle(self, books: Books, ordered: Ordered, verdict: CarryOut) -> Iterator[Ending]:
        """The handler runs: in the transaction of the row, or behind an intent. Of what is not finished there is no
        effect to undo."""
        row = verdict.row
        if row is not None and row.state == "intent":
            intent = books.keep(row)
            yield Ending(intent, None, "intent", crash=True)
            yield from self._call(intent, ordered)
            return
        done = books.apply() if ordered.operation == "do" else books if verdict.withdrawn else books.undo()
        for other in verdict.others:
            done = done.keep(other) if self._protocol.writes(other) else done
        yield self._answered(done, ordered)
        if ordered.operation == "do" and row is not None and self._leaf(ordered).finished_within is not None:
            yield self._not_yet(books, ordered, self._matter(ordered).row("unfinished"))
        yield Ending(books, self._reply(ordered, "failed", TRANSIENT), "failed")
        yield from self._refused(books, ordered)

    def _answered(self, books: Books, ordered: Ordered) -> Ending:
        after, reply = self._written(books, ordered, self._protocol.concluded(self._matter(ordered), Done()))
        return Ending(after, reply, "done" if ordered.operation == "do" else "undone")

    def _refused(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        """What the command declares that it may refuse; one code stands for all unless told otherwise."""
        codes = self._command(ordered).refusals if ordered.operation == "do" else ()
        for code in codes[: self._refusals or None]:
            verdict = self._protocol.concluded(self._matter(ordered), Refused(code))
            after, reply = self._written(books, ordered, verdict)
            yield Ending(after._replace(refused=True), reply, "refused")

    def _not_yet(self, books: Books, ordered: Ordered, row: Row) -> Ending:
        """It is taken, or has been: whoever asked last is the one to be answered."""
        attempt = max(ordered.attempt, int(row.content.partition(" ")[0] or 0))
        said = "goes on" if row.content else "taken"
        return Ending(
            books.keep(row.keeping(f"{attempt} {ordered.kind}")), self._reply(ordered, "failed", UNFINISHED), said
        )

    def finish(self, books: Books, step: int) -> Sequence[Ending]:
        """Every way in which somebody outside may finish a command of this step."""
        return [ending for row in books.rows for ending in self._finished(books, step, row)]

    def _finished(self, books: Books, step: int, row: Row) -> Iterator[Ending]:
        if not (row.key.endswith(":do") and self._protocol.finishes(row)):
            return
        key, (attempt, _, kind) = CommandKey.parse(row.key), row.content.partition(" ")
        ordered = Ordered(step, key.round, "do", int(attempt) if attempt.isdecimal() else 1, kind=kind)
        yield self._answered(books.apply(), ordered)
        yield from self._refused(books, ordered)
        if row.state == "unfinished":
            failed = self._reply(ordered, "failed", TRANSIENT)
            self._kept[text := repr(failed)] = failed
            yield Ending(books.keep(replace(row, state="failed").keeping(text)), failed, "failed")

    def _call(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        """A provider is called, for the first time or once more under the same key."""
        there = (books.applied if ordered.operation == "do" else books.undone) > 0
        landed = books
        if not (there and self._protocol.provider_keys):
            landed = books.apply() if ordered.operation == "do" else books.undo()
        failed = self._reply(ordered, "failed", TRANSIENT)
        yield self._answered(landed, ordered)
        yield Ending(landed, None, "called", crash=True)
        yield Ending(landed, failed, "failed there")
        yield Ending(books, failed, "failed")
        if not there:
            yield from self._refused(books, ordered)

    def _settled(self, books: Books, ordered: Ordered, first: Operation) -> Iterator[Ending]:
        """Another command's intent is settled first; then this command finds a clean row."""
        if first == ordered.operation:
            yield from self._call(books, ordered)
            return
        if first == "do" and not books.applied:
            yield from self._cancelled(books, ordered)
        for outcome in self._call(books, ordered._replace(operation=first, of="")):
            if outcome.crash:
                yield outcome
            elif outcome.said.startswith("failed"):
                yield outcome._replace(reply=self._reply(ordered, "failed", TRANSIENT), said="unsettled")
            else:
                for end in self.carry_out(outcome.books, ordered):
                    yield end._replace(said=f"settled {end.said}")

    def _cancelled(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        """Its provider knows nothing of it, and refuses its key from now on; or what hung on its way lands yet."""
        do = ordered._replace(operation="do", of="")
        verdict = self._protocol.concluded(self._matter(do), Refused(CANCELLED))
        after, _ = self._written(books, do, verdict)
        landed = after if self._protocol.provider_cancels else after.apply()
        for end in self.carry_out(landed._replace(refused=True), ordered):
            yield end._replace(said=f"called off {end.said}")

    # --- what they are made of ----------------------------------------------------------------------------------------

    def _name(self, ordered: Ordered) -> str:
        return self._leaf(ordered).path

    def _leaf(self, ordered: Ordered) -> Commanded:
        leaf = self._leaves[ordered.step]
        assert leaf is not None
        return leaf

    def _command(self, ordered: Ordered) -> type[Command[Any]]:
        return self._leaf(ordered).command_of(ordered.kind)

    def _reply(self, ordered: Ordered, outcome: Outcomes, code: str = "", *, nothing: bool = False) -> Answered:
        key = CommandKey("saga", self._name(ordered), ordered.round, ordered.operation)
        if outcome != "ok":
            attempt = ordered.attempt if outcome == "failed" else 1
            data = self._leaf(ordered).refusal_data.get(code) if outcome == "refused" else None
            given = self._replies[data.type_name] if data else ""
            return Answered("reply", key, attempt, outcome, Failure(code=code, kind=outcome).to_json(), code, given)
        return Answered("reply", key, 1, "ok", self._body(ordered, nothing))

    def _body(self, ordered: Ordered, nothing: bool) -> str:
        if ordered.operation == "do":
            return self._replies[self._command(ordered).reply_type.type_name]
        return (Closed() if ordered.operation == "close" else NothingToUndo() if nothing else Done()).to_json()

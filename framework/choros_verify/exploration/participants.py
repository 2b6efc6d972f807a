"""The participants of an exploration: the barrier's real decisions, on rows that are plain values.

A command meets every way in which it may end: carried out, refused, failed for now, too late; for a provider also
failed with the effect there. A crash before a commit leaves nothing behind and is the same as a command that has not
arrived yet, so it is no event; a crash after it is "the command comes again", which the moves add.

One reduction: a stored OK or refusal is told as the answer to attempt 1. The machine reads the attempt of a failure
only (semantics 8), so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from choros.messages import FORGOTTEN, Closed, Done, Failure, NothingToUndo
from choros.runtime.host.verdicts import CarryOut, Forgotten, LeaveAlone, Refuse, Repeat, Settle, Shut
from choros.saga.machine.inputs import Answered
from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros.store.barrier import Row
from choros.wire.command_key import CommandKey, Operation
from choros_verify.exploration.books import IN_TIME, NOT_AFTER, TOO_LATE, Books, Effect, Ending, KeptRow
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.wire import Ordered

TRANSIENT = "ConnectionError"
Outcomes = Literal["ok", "refused", "failed"]


class Participants:
    """Carries commands out. `replies` has an example of every reply; `providers` names the steps whose effect is at a
    provider outside the participant's database (semantics 16)."""

    def __init__(
        self, saga: Saga[Any], protocol: Protocol, replies: dict[str, str], providers: frozenset[str], refusals: int
    ) -> None:
        self._leaves = [saga.outline.commanded(path) for path in saga.outline.leaves]
        self._protocol = protocol
        self._replies = replies
        self._providers = providers
        self._refusals = refusals

    def carry_out(self, books: Books, ordered: Ordered) -> Sequence[Ending]:
        """Every way in which this command may end."""
        operations = {"do": self._do, "undo": self._undo, "close": self._close}
        return list(dict.fromkeys(operations[ordered.operation](books, ordered)))

    # --- do -----------------------------------------------------------------------------------------------------------

    def _do(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        moments = {"": (IN_TIME,), "ahead": (IN_TIME, TOO_LATE), "past": (TOO_LATE,)}[ordered.deadline]
        not_after = NOT_AFTER if ordered.deadline else None
        for now in moments:
            done = books.find(self._effect(ordered), "do")
            match self._protocol.on_do(done and done.row(), not_after, now, behind=_behind(books, ordered)):
                case Forgotten():
                    yield self._forgotten(books, ordered)
                case Repeat():
                    yield self._again(books, ordered, done)
                case Settle():
                    yield from self._call(books, ordered)
                case Refuse(code="expired"):
                    yield self._expired(books, ordered)
                case Refuse(code):
                    yield Ending(books, self._reply(ordered, "refused", code), "cancelled")
                case _:
                    yield from self._handle(books, ordered)

    def _forgotten(self, books: Books, ordered: Ordered) -> Ending:
        return Ending(books, self._reply(ordered, "failed", FORGOTTEN), "forgotten")

    def _expired(self, books: Books, ordered: Ordered) -> Ending:
        reply = self._reply(ordered, "refused", "expired")
        if self._protocol.keeps_expired:
            books = books.keep(KeptRow(self._effect(ordered), "do", "refused", reply))
        return Ending(books._replace(refused=True), reply, "expired", late=True)

    def _again(self, books: Books, ordered: Ordered, kept: KeptRow | None) -> Ending:
        if kept is None or kept.reply is None:
            return Ending(books, self._reply(ordered, "refused", "cancelled"), "cancelled")
        return Ending(books, kept.reply, "again")

    # --- a handler ----------------------------------------------------------------------------------------------------

    def _handle(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        """The handler runs: in the transaction of the row, or behind an intent."""
        if self._name(ordered) in self._providers:
            intent = books.keep(KeptRow(self._effect(ordered), ordered.operation, "intent"))
            yield Ending(intent, None, "intent", crash=True)
            yield from self._call(intent, ordered)
            return
        done = books.apply() if ordered.operation == "do" else books.undo()
        yield self._answered(done, ordered)
        yield Ending(books, self._reply(ordered, "failed", TRANSIENT), "failed")
        yield from self._refused(books, ordered)

    def _answered(self, books: Books, ordered: Ordered) -> Ending:
        reply = self._reply(ordered, "ok")
        kept = KeptRow(self._effect(ordered), ordered.operation, "ok", reply)
        return Ending(books.keep(kept), reply, "done" if ordered.operation == "do" else "undone")

    def _refused(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        """What the command declares that it may refuse; one code stands for all unless told otherwise."""
        codes = self._leaf(ordered).command.refusals if ordered.operation == "do" else ()
        for code in codes[: self._refusals or None]:
            reply, after = self._reply(ordered, "refused", code), books
            if self._protocol.keeps_refusals:
                after = books.keep(KeptRow(self._effect(ordered), "do", "refused", reply))
            yield Ending(after._replace(refused=True), reply, "refused")

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
        for outcome in self._call(books, ordered._replace(operation=first, deadline="")):
            if outcome.crash:
                yield outcome
            elif outcome.said.startswith("failed"):
                yield outcome._replace(reply=self._reply(ordered, "failed", TRANSIENT), said="unsettled")
            else:
                for end in self.carry_out(outcome.books, ordered):
                    yield end._replace(said=f"settled {end.said}")

    # --- undo, close --------------------------------------------------------------------------------------------------

    def _undo(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        effect = self._effect(ordered)
        done, undone = books.find(effect, "do"), books.find(effect, "undo")
        match self._protocol.on_undo(done and done.row(), undone and undone.row(), behind=_behind(books, ordered)):
            case Forgotten():
                yield self._forgotten(books, ordered)
            case Repeat():
                yield self._again(books, ordered, undone)
            case Settle(row):
                yield from self._call(books, ordered) if row.key == "undo" else self._settled(books, ordered, "do")
            case LeaveAlone():
                reply = self._reply(ordered, "ok", nothing=True)
                kept = (undone or KeptRow(effect, "undo", "ok"))._replace(reply=reply)
                yield Ending(self._bury(books, ordered).keep(kept), reply, "nothing")
            case CarryOut():
                yield from self._handle(books, ordered)

    def _bury(self, books: Books, ordered: Ordered) -> Books:
        effect = self._effect(ordered)
        if not self._protocol.buries or books.find(effect, "do"):
            return books
        return books.keep(KeptRow(effect, "do", "tombstone", until="short" if ordered.deadline == "short" else "ahead"))

    def _close(self, books: Books, ordered: Ordered) -> Iterator[Ending]:
        effect, of = self._effect(ordered), ordered.of or "do"
        done, undone, closed = books.find(effect, "do"), books.find(effect, "undo"), books.find(effect, "close", of)
        rows = [kept and kept.row() for kept in (done, undone, closed)]
        match self._protocol.on_close(*rows, of, behind=_behind(books, ordered)):
            case Forgotten():
                yield self._forgotten(books, ordered)
            case Repeat(row):
                found = closed if row.key == "close" else books.find(effect, _operation(row))
                after = books.keep(KeptRow(effect, "close", "ok", found and found.reply, of=of))
                yield self._again(after, ordered, found)
            case Settle(row):
                yield from self._settled(books, ordered, _operation(row))
            case Shut():
                yield from self._shut(books, ordered, of)

    def _shut(self, books: Books, ordered: Ordered, of: Literal["do", "undo"]) -> Iterator[Ending]:
        """A person who closes an undo has undone the effect by hand."""
        effect, reply = self._effect(ordered), self._reply(ordered, "ok")
        after = self._bury(books, ordered).keep(KeptRow(effect, "close", "ok", reply, of=of))
        if of == "undo":
            after = after.keep(KeptRow(effect, "undo", "tombstone"))
            after = after.undo() if after.stands else after
        yield Ending(after, reply, "closed")
        yield Ending(books, self._reply(ordered, "failed", TRANSIENT), "failed")

    # --- what they are made of ----------------------------------------------------------------------------------------

    def _name(self, ordered: Ordered) -> str:
        return self._leaf(ordered).path

    def _leaf(self, ordered: Ordered) -> Commanded:
        leaf = self._leaves[ordered.step]
        assert leaf is not None
        return leaf

    def _effect(self, ordered: Ordered) -> Effect:
        return Effect(ordered.round, ordered.attempt if self._protocol.key_per_attempt else 0)

    def _reply(self, ordered: Ordered, outcome: Outcomes, code: str = "", *, nothing: bool = False) -> Answered:
        key = CommandKey("saga", self._name(ordered), ordered.round, ordered.operation)
        if outcome != "ok":
            attempt = ordered.attempt if outcome == "failed" else 1
            return Answered("reply", key, attempt, outcome, Failure(code=code, kind=outcome).to_json(), code)
        return Answered("reply", key, 1, "ok", self._body(ordered, nothing))

    def _body(self, ordered: Ordered, nothing: bool) -> str:
        if ordered.operation == "do":
            return self._replies[self._leaf(ordered).reply_type.type_name]
        return (Closed() if ordered.operation == "close" else NothingToUndo() if nothing else Done()).to_json()


def _behind(books: Books, ordered: Ordered) -> bool:
    return ordered.round <= books.horizon


def _operation(row: Row) -> Operation:
    """A row's key is its operation here (`Kept.row`)."""
    operations: dict[str, Operation] = {"do": "do", "undo": "undo", "close": "close"}
    return operations[row.key]

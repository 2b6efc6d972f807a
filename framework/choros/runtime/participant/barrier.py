"""Carrying a command out behind the barrier: row, effect and reply in one local transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from choros.app.service import Handler
from choros.errors import ChorosError, Refused
from choros.messages import Close, Closed, NothingToUndo, Reply
from choros.runtime.host.admission import Received
from choros.runtime.host.slots import Calls
from choros.runtime.host.verdicts import (
    CarryOut,
    Forgotten,
    LeaveAlone,
    Refuse,
    Repeat,
    Settle,
    on_close,
    on_do,
    on_undo,
    refusal_until,
    taken_until,
    tombstone_until,
)
from choros.runtime.participant.answers import (
    Answer,
    ForgottenEffect,
    Outside,
    Unsettled,
    answer,
    kept,
    refusal,
    stored,
)
from choros.store.barrier import Job, Row, RowState, Transaction
from choros.wire.command_key import Operation
from choros.wire.envelope import Envelope

Carrying = Callable[[Received, Transaction], Awaitable[Answer | Unsettled | Outside]]


class WrongReply(ChorosError):
    """A handler returned something that is not its command's reply: a bug."""


class Barrier:
    """What one command does to its rows; nothing here touches anything but the transaction it is given."""

    def __init__(self, source: str, *, clock: Callable[[], float], clock_skew: float, calls: Calls) -> None:
        self.source = source
        self.clock = clock
        self._skew = clock_skew
        self._calls = calls

    def job(self, received: Received) -> Job[Answer | Unsettled | Outside]:
        """The command as a job for `Database.run`: its result is an Answer, or what has to be done outside of it."""
        operations: dict[Operation, Carrying] = {"do": self._do, "undo": self._undo, "close": self._close}
        return partial(operations[received.key.operation], received)

    # --- the three operations ---

    async def _do(self, received: Received, transaction: Transaction) -> Answer | Unsettled | Outside:
        envelope, key = received.envelope, received.envelope.key
        until, done = taken_until(envelope.not_after, self._skew), await transaction.read_row(key)
        now = self.clock() if received.begun is None else received.begun
        match on_do(done, until, now, behind=await _behind(envelope, transaction)):
            case Repeat(row):
                return stored(row)
            case Settle(row):
                return Unsettled(row)
            case Refuse(code, tombstone):
                row = tombstone or self.refused_row(envelope)
                return await _keep(transaction, row, self._reply(envelope, Refused(code)))
            case Forgotten():
                raise ForgottenEffect
            case CarryOut():
                return await self._carry_out(received, transaction)

    async def _undo(self, received: Received, transaction: Transaction) -> Answer | Unsettled | Outside:
        envelope, key = received.envelope, received.envelope.key
        done = await transaction.read_row(str(received.key.of("do")))
        undone = await transaction.read_row(key)
        match on_undo(done, undone, behind=await _behind(envelope, transaction)):
            case Repeat(row):
                return stored(row)
            case Settle(row):
                return Unsettled(row)
            case LeaveAlone():
                await self._bury(received, transaction, done)
                reply = self._reply(envelope, NothingToUndo())
                return await _keep(transaction, undone or self._row(envelope), reply)
            case Forgotten():
                raise ForgottenEffect
            case CarryOut():
                return await self._carry_out(received, transaction)

    async def _close(self, received: Received, transaction: Transaction) -> Answer | Unsettled:
        envelope, of = received.envelope, received.message.of if isinstance(received.message, Close) else "do"
        # Both closes of an effect have one key, but each its own answer: a person may close the `do`, later the `undo`.
        close = self._row(envelope, key=envelope.key if of == "do" else f"{envelope.key}:{of}")
        done = await transaction.read_row(str(received.key.of("do")))
        undone = await transaction.read_row(str(received.key.of("undo")))
        closed = await transaction.read_row(close.key)
        match on_close(done, undone, closed, of, behind=await _behind(envelope, transaction)):
            case Repeat(row) if row.key == close.key:
                return stored(row)
            case Repeat(row):
                return await _keep(transaction, close, kept(row), row.key)
            case Settle(row):
                return Unsettled(row)
            case Forgotten():
                raise ForgottenEffect
        await self._bury(received, transaction, done)
        if of == "undo":
            await transaction.write_row(self._row(envelope, "tombstone", key=str(received.key.of("undo"))))
        return await _keep(transaction, close, self._reply(envelope, Closed()))

    # --- what they are made of ---

    async def _carry_out(self, received: Received, transaction: Transaction) -> Answer | Unsettled | Outside:
        envelope = received.envelope
        assert received.handler is not None
        if received.handler.provider:
            return await self._intend(received, transaction)
        if received.handler.transaction is None:
            return await self._without_transaction(received, transaction)
        # First of all: whoever comes second, in whatever process, meets this row.
        await transaction.write_row(self._row(envelope, "running"))
        try:
            async with transaction.savepoint():
                reply = await self.call(received, received.handler, transaction)
        except Refused as refused:
            if not may_refuse(received, refused):
                raise
            return await self._settled(envelope, refused, transaction)
        assert reply is not None
        return await self._settled(envelope, reply, transaction)

    async def _without_transaction(self, received: Received, transaction: Transaction) -> Answer | Outside:
        """Look first, write down afterwards: in between, its handler keeps nobody from the database."""
        if received.outcome is not None:
            return await self._settled(received.envelope, received.outcome, transaction)
        received.begun = self.clock()
        return Outside()

    async def _settled(self, command: Envelope, outcome: Reply | Refused, transaction: Transaction) -> Answer:
        row = self.refused_row(command) if isinstance(outcome, Refused) else self._row(command)
        return await _keep(transaction, row, self._reply(command, outcome))

    async def _intend(self, received: Received, transaction: Transaction) -> Unsettled:
        """The intent keeps the command, so that whoever finds it can ask the provider the same question."""
        row = replace(self._row(received.envelope, "intent"), reply=received.envelope.dumps())
        await transaction.write_row(row)
        return Unsettled(row, fresh=True)

    async def _bury(self, received: Received, transaction: Transaction, done: Row | None) -> None:
        """From now on the `do` must never be carried out, for as long as one may still arrive."""
        until = tombstone_until(received.envelope.not_after, self._skew, done)
        if done is None:
            tombstone = self._row(received.envelope, "tombstone", key=str(received.key.of("do")))
            await transaction.write_row(replace(tombstone, prune_at=until))
        elif done.state in ("refused", "tombstone") and until != done.prune_at:
            await transaction.write_row(replace(done, prune_at=until))

    def _row(self, command: Envelope, state: RowState = "ok", *, key: str = "") -> Row:
        """A row about the effect of this command, under its key or another one of the same effect."""
        return Row(key=key or command.key, state=state, began=command.began, since=self.clock())

    def refused_row(self, command: Envelope) -> Row:
        """The row of a refusal, without its reply."""
        return replace(self._row(command, "refused"), prune_at=refusal_until(command.not_after, self._skew))

    def _reply(self, command: Envelope, body: Reply | Refused) -> Envelope:
        if isinstance(body, Refused):
            no = refusal(command, body.code, body.detail)
            return answer(command, self.source, self.clock(), no, "refused")
        return answer(command, self.source, self.clock(), body)

    async def finish(self, received: Received, outcome: Reply | Refused, transaction: Transaction) -> Answer:
        """Put a provider's answer into the row of its intent; an answer that somebody else put there first wins."""
        command = received.envelope
        row = await transaction.read_row(command.key)
        if row is not None and row.state != "intent":
            return stored(row)
        return await self._settled(command, outcome, transaction)

    async def call(self, received: Received, handler: Handler, transaction: Transaction | None) -> Reply | None:
        """Run a handler; None only where that is an answer (of an `ask`)."""
        reply = await self._calls.call(handler, received.envelope, received.message, transaction)
        asked, wanted = handler is not received.handler, type(received.message).reply_type
        if type(reply) is wanted or (asked and reply is None):
            return reply
        raise WrongReply(f"{handler.function.__name__} returned {type(reply).__name__}, not {wanted.__name__}.")


async def _behind(command: Envelope, transaction: Transaction) -> bool:
    """Whether rows of its effect may have been forgotten. One that says nothing of its time comes from an orchestrator
    whose commands never did; their rows never grow old. To be asked after the rows were read."""
    return command.began is not None and command.began <= await transaction.horizon("commands")


async def _keep(transaction: Transaction, row: Row, reply: Envelope, *more: str) -> Answer:
    await transaction.write_row(replace(row, reply=reply.dumps()))
    return Answer(reply, (row.key, *more))


def may_refuse(received: Received, refused: Refused) -> bool:
    """Whether the command declares this refusal; an undo is never refused."""
    return received.key.operation == "do" and refused.code in received.message.refusals

"""Carrying a command out: its rows are read, judged, and written with effect and reply in one local transaction."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from choros.app.handler import Handler
from choros.app.later import Later
from choros.app.sending import Stamp
from choros.errors import ChorosError, Refused, WrongFact
from choros.messages import Close, Command, Reply
from choros.runtime.host.admission import Received
from choros.runtime.host.handlers_outbox import HandlersOutbox, OpenOutbox
from choros.runtime.host.outbox_rows import keep_standing
from choros.runtime.host.slots import Calls
from choros.runtime.participant.answers import (
    Answer,
    ForgottenEffect,
    answer,
    keeping,
    kept,
    leading_to,
    leads_to,
    refusal,
    repeats,
    stored,
    token_key,
    token_of,
    unfinished,
)
from choros.runtime.participant.verdicts import (
    CANCELLED,
    AnswerAgain,
    CarryOut,
    Conclude,
    EffectSite,
    GoesOn,
    Matter,
    Settle,
    Target,
    TooOld,
    concluded,
    judge,
    keys_of,
    on_result,
)
from choros.store.barrier import NEVER, Job, Row, Transaction
from choros.wire import undone
from choros.wire.envelope import Envelope, ReplyOutcome


class WrongReply(ChorosError):
    """A handler returned or gave with its refusal what its command does not declare: a bug."""


class TokenTaken(ChorosError):
    """A handler has taken its command under the token of another one: nobody could tell them apart."""


class Execution:
    """What one command does in its transaction; nothing here touches anything but that."""

    def __init__(
        self, source: str, *, clock: Callable[[], float], clock_skew: float, calls: Calls,
        outbox: OpenOutbox | None = None, stamps: Sequence[Stamp] = (),
    ) -> None:  # fmt: skip
        """`outbox`: of a service that lets something leave with its transactions."""
        self.source = source
        self._stamps = stamps
        self._outbox = outbox
        self.clock = clock
        self._skew = clock_skew
        self._calls = calls

    def job(self, received: Received) -> Job[Answer | Settle | CarryOut]:
        """The command as a job for `Database.run`: it comes to an answer, or to what has to be done outside of it."""
        return partial(self._run, received)

    async def _run(self, received: Received, transaction: Transaction) -> Answer | Settle | CarryOut:
        received.written.clear()
        matter = await self._found(received, transaction)
        match judge(matter):
            case CarryOut() as verdict:
                return await self._carry_out(received, matter, verdict, transaction)
            case GoesOn(row):
                return await self._goes_on(received, row, transaction)
            case TooOld():
                raise ForgottenEffect
            case Settle() as verdict:
                return verdict
            case AnswerAgain() | Conclude() as verdict:
                return await self._give(received, verdict, transaction)

    async def _found(self, received: Received, transaction: Transaction) -> Matter:
        rows = [await transaction.read_row(key) for key in keys_of(received.key, _closes(received))]
        horizon = NEVER if received.envelope.began is None else await transaction.horizon("commands")
        return self._matter(received, horizon, *rows)

    def _matter(self, received: Received, horizon: float = NEVER, *rows: Row | None) -> Matter:
        command, handler, now = received.envelope, received.handler, self.clock()
        done, undone, closed = (*rows, None, None, None)[:3]
        return Matter(
            key=received.key,
            of=_closes(received),
            site="here" if handler is None else _site(handler),
            not_after=command.not_after,
            began=command.began,
            skew=self._skew,
            now=now,
            came=now if received.begun is None else received.begun,
            done=done,
            undone=undone,
            closed=closed,
            asked=received.asked,
            repeats=done is not None and done.state == "failed" and repeats(done, command),
            horizon=horizon,
        )

    async def _carry_out(
        self, received: Received, matter: Matter, verdict: CarryOut, transaction: Transaction
    ) -> Answer | Settle | CarryOut:
        row, withdrawn = verdict.row, verdict.withdrawn
        received.token = "" if withdrawn is None else token_of(withdrawn)
        if row is None:
            return await self._outside(received, matter, verdict, transaction)
        for other in verdict.others:
            await transaction.write_row(other)
        if row.state == "intent":  # it keeps the command, so that whoever finds it can ask the provider the same
            intent = keeping(row, received.envelope, received.token)
            await transaction.write_row(intent)
            return Settle(intent, fresh=True)
        # First of all: whoever comes second, in whatever process, meets this row.
        await transaction.write_row(row)
        outcome = await self.outcome(received, transaction)
        if received.written:
            await keep_standing(received.written, transaction)
        return await self._conclude(received, matter, outcome, transaction)

    async def _outside(
        self, received: Received, matter: Matter, verdict: CarryOut, transaction: Transaction
    ) -> Answer | CarryOut:
        """Look first, write down afterwards: in between, its handler keeps nobody from the database. What it was to
        undo may have been finished meanwhile: then it is called again."""
        if received.outcome is not None and received.withdrawn == verdict.withdrawn:
            for other in verdict.others:
                await transaction.write_row(other)
            return await self._conclude(received, matter, received.outcome, transaction)
        received.begun = self.clock()
        received.withdrawn = verdict.withdrawn
        return CarryOut()

    async def finish(self, received: Received, outcome: Reply | Refused | Later, transaction: Transaction) -> Answer:
        """Put a provider's answer into the row of its intent, or of what it had taken."""
        row = await transaction.read_row(received.envelope.key)
        matter = self._matter(received)
        if isinstance(outcome, Later):
            return await self._finish_later(received, matter, row, outcome, transaction)
        return await self._give(received, on_result(matter, row, outcome), transaction)

    async def _finish_later(
        self, received: Received, matter: Matter, row: Row | None, later: Later, transaction: Transaction
    ) -> Answer:
        if row is not None and row.state == "unfinished":
            return await self._goes_on(received, row, transaction)
        if row is not None and row.state != "intent":  # somebody has finished it before we could write it down
            return stored(row)
        return await self._take(received, matter, later, transaction)

    async def _conclude(
        self, received: Received, matter: Matter, outcome: Reply | Refused | Later, transaction: Transaction
    ) -> Answer:
        if isinstance(outcome, Later):
            return await self._take(received, matter, outcome, transaction)
        return await self._give(received, concluded(matter, outcome), transaction)

    async def _take(self, received: Received, matter: Matter, later: Later, transaction: Transaction) -> Answer:
        """Keep it, to be finished from outside, and let it be found by its token; raises TokenTaken."""
        key, token = received.envelope.key, later.token or received.envelope.key
        await transaction.write_row(keeping(matter.row("unfinished"), received.envelope, token))
        if token != key:
            found = await transaction.read_row(token_key(token))
            if found is not None and leads_to(found) != key:
                raise TokenTaken(f"The token of {received.envelope.type} stands for another command already.")
            await transaction.write_row(leading_to(matter.row("token", token_key(token)), key))
        return self._not_yet(received.envelope)

    async def _goes_on(self, received: Received, row: Row, transaction: Transaction) -> Answer:
        """Say so; whoever finishes it answers the last who has asked."""
        command = received.envelope
        if command.attempt > kept(row).attempt:
            await transaction.write_row(keeping(row, command, token_of(row)))
        return self._not_yet(command)

    def _not_yet(self, command: Envelope) -> Answer:
        return Answer(self.answer(command, unfinished(command), "failed"))

    async def _give(self, received: Received, verdict: AnswerAgain | Conclude, transaction: Transaction) -> Answer:
        """The answer, once it is written."""
        if isinstance(verdict, AnswerAgain):
            return stored(verdict.row)
        reply = self._reply(received.envelope, verdict.reply)
        for row in (*verdict.others, keeping(verdict.row, reply)):
            await transaction.write_row(row)
        copied = (verdict.reply.key,) if isinstance(verdict.reply, Row) else ()
        return Answer(reply, (verdict.row.key, *copied))

    def _reply(self, command: Envelope, body: Reply | Refused | Row) -> Envelope:
        if isinstance(body, Row):
            return kept(body)
        if isinstance(body, Refused):
            said = refusal(command, body)
            return self.answer(command, said, "refused", undone.written(body.undone))
        return self.answer(command, body)

    def answer(self, command: Envelope, body: Reply, outcome: ReplyOutcome = "ok", undone: str = "") -> Envelope:
        """The reply to a command, as this service gives it; raises as `answers.answer`."""
        return answer(command, self.source, self.clock(), body, outcome, undone=undone, stamps=self._stamps)

    # --- its handler ---

    async def outcome(
        self, received: Received, transaction: Transaction | None = None, ways: Sequence[Handler] = ()
    ) -> Reply | Refused | Later:
        """What its handler comes to, or the first of these ways that knows; raises all that is no declared refusal."""
        try:
            async with transaction.savepoint() if transaction else nullcontext():
                return await self._within(received, transaction, ways)
        except Refused as refused:
            check_refusal(received, refused)
            await self._publish_instead(received, refused, transaction)
            return refused

    async def _publish_instead(self, received: Received, refused: Refused, transaction: Transaction | None) -> None:
        """What leaves in place of what was rolled back."""
        if refused.fact is None:
            return
        outbox = self._opened(received, received.handler, transaction)
        if outbox is None:
            raise WrongFact("A handler that is declared to publish nothing was refused with a fact.") from refused
        await outbox.put(refused.fact)

    def _opened(
        self, received: Received, handler: Handler | None, transaction: Transaction | None
    ) -> HandlersOutbox | None:
        if self._outbox is None or transaction is None or handler is None or not handler.leaves:
            return None
        return self._outbox(handler, received.envelope, transaction, received.written)

    async def _within(
        self, received: Received, transaction: Transaction | None, ways: Sequence[Handler]
    ) -> Reply | Refused | Later:
        """The same, in its savepoint: a refusal leaves that, but for one whose handler has itself taken back what it
        had done."""
        handler = received.handler
        assert handler is not None
        try:
            for way in ways or (handler,):
                if (reply := await self._call(received, way, transaction)) is not None:
                    return reply
        except Refused as refused:
            if transaction is None or not transaction.local_undo.taken_back:
                raise
            check_refusal(received, refused)
            await self._publish_instead(received, refused, transaction)
            return _with_undone(refused, transaction.local_undo.taken_back)
        # The last way was to cancel it, and that is done; or it was only asked after, and nobody knows more.
        return Refused(CANCELLED) if ways[-1] is handler.cancel else Later()

    async def _call(
        self, received: Received, handler: Handler, transaction: Transaction | None
    ) -> Reply | Later | None:
        """Run a handler; None only where that is an answer (of an `ask` or a `cancel`)."""
        outbox = self._opened(received, handler, transaction)
        told = received.envelope, received.message, transaction, received.token
        reply = await self._calls.call(handler, *told, outbox)
        asked, wanted = handler is not received.handler, type(received.message).reply_type
        if isinstance(reply, Later):
            return None if asked else _later(received, handler, reply)
        if type(reply) is wanted or (asked and reply is None):
            return reply
        raise WrongReply(f"{handler.name} returned {type(reply).__name__}, not {wanted.__name__}.")


def _later(received: Received, handler: Handler, later: Later) -> Later:
    if received.key.operation == "do" and handler.later:
        return later
    name, why = handler.name, "of an undo" if handler.later else "and nobody announced that"
    wanted = type(received.message).reply_type.__name__
    raise WrongReply(f"{name} returned Later, {why}.", f"async def {name}(...) -> {wanted} | Later, of what is done.")


def _closes(received: Received) -> Target:
    return received.message.of if isinstance(received.message, Close) else "do"


def _site(handler: Handler) -> EffectSite:
    return "provider" if handler.provider else "outside" if handler.transaction is None else "here"


def may_refuse(received: Received, refused: Refused) -> bool:
    """Whether the command declares this refusal; an undo is never refused."""
    return received.key.operation == "do" and refused.code in received.message.refusals


def check_refusal(received: Received, refused: Refused) -> None:
    """Raises it itself, or WrongReply, where the command does not declare it like this."""
    if not may_refuse(received, refused):
        raise refused
    _check_data(received.message, refused)


def _with_undone(refused: Refused, undone: tuple[str, ...]) -> Refused:
    """Another one: a handler may raise the same object again and again."""
    said = Refused(refused.code, refused.detail, data=refused.data)
    said.undone = undone
    return said


def _check_data(command: Command[Any], refused: Refused) -> None:
    """Whether what is given with a refusal is of the type that the command declares for its code."""
    declared = command.refusal_data.get(refused.code)
    given = None if refused.data is None else type(refused.data)
    if given is not declared:
        gave, wanted = (kind.__name__ if kind else "no data" for kind in (given, declared))
        name = type(command).__name__
        raise WrongReply(f"{name} was refused with {refused.code} and {gave}, not with {wanted}.")

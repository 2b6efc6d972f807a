"""Finishing from outside what a handler has taken: a webhook, a batch or a person says what became of it.

The row, the answer and an effect of the service's own are one local transaction. Whichever process runs the service
sends the answer. The first word counts; whoever says it again hears that it was said.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from choros.app.service import Service
from choros.app.sessions import called_with
from choros.errors import Refused, TokenUnknown, TooLate, UsageError
from choros.messages import Failure, Reply
from choros.runtime.host.admission import Received, understood
from choros.runtime.participant.answers import answer, keeping, kept, leads_to, refusal, token_key, token_of
from choros.runtime.participant.execution import check_refusal, may_refuse
from choros.runtime.participant.verdicts import OPEN, refusal_until
from choros.sources import now
from choros.store.barrier import Database, Row, RowState, Transaction, value_of
from choros.values import replace
from choros.wire.envelope import Envelope, ReplyOutcome, is_do

Word = Literal["finished", "repeated"]
"""Whether it counted, or had been said before."""
Effect = Callable[[Any], Awaitable[object]]
"""Writes through the transaction that it is given; it may be called again after a conflict."""
_STATES: dict[str, RowState] = {"ok": "ok", "refused": "refused", "failed": "failed"}
_GIVE_BACK = "give back what was taken under it, such as a payment: the saga does not count on it any more."


@dataclass(frozen=True, slots=True)
class UnfinishedCommand:
    """A command that was taken, and waits for somebody outside to finish it."""

    token: str
    key: str
    """Its idempotency key."""
    type: str
    saga: str
    saga_id: str
    subject: str
    """The start key of the saga."""
    since: float
    """When it was taken, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """What somebody outside says of a command."""

    outcome: ReplyOutcome
    body: Reply | Refused | str
    """Of a reply also its JSON text."""

    def read(self, wanted: type[Reply] | None) -> "_Statement":
        """The same, with a reply of this type in place of a text."""
        return replace(self, body=wanted.from_json(self.body)) if wanted and isinstance(self.body, str) else self

    def check(self, received: Received) -> None:
        """Raises UsageError where the command can have no such answer."""
        if isinstance(self.body, Refused):
            _check_declared(received, self.body)
        elif self.outcome == "ok" and type(self.body) is not type(received.message).reply_type:
            wanted, given = type(received.message).reply_type.__name__, type(self.body).__name__
            name = type(received.message).__name__
            raise UsageError(f"{name} is answered with {wanted}, not with {given}.", f"complete(token, {wanted}(...)).")

    def of(self, message: Envelope) -> Reply:
        """The body of the answer; `message` is the command, or an answer to it."""
        if isinstance(self.body, Refused):
            return refusal(message, self.body)
        assert not isinstance(self.body, str)
        return self.body.model_copy(update={"step": message.step}) if isinstance(self.body, Failure) else self.body

    def was(self, reply: Envelope) -> bool:
        """Whether that is what it was answered with."""
        return reply.outcome == self.outcome and reply.data == self.of(reply).to_json()


class Unfinished:
    """What a service has taken, to be finished later: found by its token, and finished once.

    Each of the three ways answers "finished", or "repeated" where the same was said before. They raise TokenUnknown
    where nothing is found: its handler may not have committed yet, so whoever has called should call again. They raise
    TooLate where the command was undone, closed or answered otherwise before: what was taken must be given back. An
    `effect`, if there is one, writes to the service's database in the same transaction, if the word counts.
    """

    def __init__(
        self,
        service: Service,
        database: Database,
        *,
        namespace: str,
        clock: Callable[[], float] = now,
        clock_skew: float = 60.0,
    ) -> None:
        """`database`: the service's own, open. `clock_skew` in seconds, as for its participants."""
        self._service, self._database = service, database
        self._source, self._clock, self._skew = f"/{namespace}/{service.name}", clock, clock_skew

    async def complete(self, token: str, reply: Reply | str, *, effect: Effect | None = None) -> Word:
        """It is done, and this is the reply, or its JSON text; raises MessageRejected for a text that is none."""
        return await self._finish(token, _Statement("ok", reply), effect)

    async def refuse(
        self, token: str, code: str, detail: str = "", *, data: Reply | None = None, effect: Effect | None = None
    ) -> Word:
        """It was definitely not done, and never will be; the command declares the code."""
        return await self._finish(token, _Statement("refused", Refused(code, detail, data=data)), effect)

    async def fail(self, token: str, code: str, detail: str = "", *, effect: Effect | None = None) -> Word:
        """It did not work: the handler may be called once more, as the policy of the step says."""
        return await self._finish(token, _Statement("failed", Failure(code=code, detail=detail, kind="failed")), effect)

    async def list(self, limit: int = 50) -> Sequence[UnfinishedCommand]:
        """Those that wait, the oldest first."""
        return [_shown(row) for row in await self._database.listed("unfinished", limit)]

    async def _finish(self, token: str, said: _Statement, effect: Effect | None) -> Word:
        """Raises what `effect` raises, too, and StoreUnreachable: then nothing has happened, or all of it."""
        (result,) = await self._database.run([partial(self._job, token, said, effect)])
        return value_of(result)

    async def _job(self, token: str, said: _Statement, effect: Effect | None, transaction: Transaction) -> Word:
        row = await self._found(token, transaction)
        if row.state not in OPEN:
            word = _said_before(row, said.read(self._reply_type(row)))
            await transaction.write_row(row)  # its answer is owed again: the first may have been lost with the broker
            return word
        command = kept(row)
        received = understood(command, self._service)
        said = said.read(type(received.message).reply_type)
        said.check(received)
        about = command, self._source, self._clock(), said.of(command), said.outcome
        reply = answer(*about, stamps=self._service.stamps)
        until = refusal_until(command.not_after, self._skew) if said.outcome == "refused" else None
        after = replace(row, state=_STATES[said.outcome], prune_at=until, since=self._clock())
        await transaction.write_row(keeping(after, reply, token_of(row) if said.outcome == "failed" else ""))
        if effect is not None:
            await called_with(effect, transaction)
        return "finished"

    def _reply_type(self, row: Row) -> type[Reply] | None:
        """Of the reply that it was answered with, if there is one of this service."""
        replies = [command.reply_type for command in self._service.commands]
        kind = kept(row).type if row.state == "ok" else ""
        return next((reply for reply in replies if reply.type_name == kind), None)

    async def _found(self, token: str, transaction: Transaction) -> Row:
        """The row of the command that was taken under this token."""
        pointer = await transaction.read_row(token_key(token))
        row = await transaction.read_row(leads_to(pointer) if pointer else token)
        if row is None or not is_do(row.key):
            raise TokenUnknown(
                "No command is to be finished under this token.",
                "its handler may not have committed yet: let whoever calls call again in a moment.",
            )
        if row.state in ("unfinished", "failed") and token_of(row) != token:
            raise TooLate("The command failed under this token, and was taken under another one since.", _GIVE_BACK)
        return row


def _check_declared(received: Received, refused: Refused) -> None:
    if not may_refuse(received, refused):
        name, codes = type(received.message).__name__, ", ".join(received.message.refusals) or "none"
        raise UsageError(f"{name} declares no refusal {refused.code!r}.", f"one of: {codes}.")
    check_refusal(received, refused)


def _said_before(row: Row, said: _Statement) -> Word:
    """Raises TooLate where something else was said, or where it is undone or closed."""
    if not row.owes_reply or row.state == "tombstone":
        raise TooLate("The command was undone or closed before it was finished.", _GIVE_BACK)
    before = kept(row)
    if not said.was(before):
        raise TooLate(f"The command was answered otherwise before ({before.outcome}).", _GIVE_BACK)
    return "repeated"


def _shown(row: Row) -> UnfinishedCommand:
    command = kept(row)
    about = command.type, command.saga, command.correlation_id, command.subject
    return UnfinishedCommand(token_of(row), row.key, *about, row.since)

"""Answers to commands: the reply envelopes, and the rows that keep them."""

from dataclasses import dataclass

from choros.errors import MessageUnwritable, Refused
from choros.messages import FORGOTTEN, Failure, Reply, refusal_with
from choros.sources import fresh_id
from choros.store.barrier import Row
from choros.telemetry.logs import words
from choros.values import replace
from choros.wire.envelope import MAX_BODY, Envelope, MessageKind, ReplyOutcome, decode, encode, why_unreadable

MOST_DETAIL = 4000
"""Characters of a refusal's detail that travel; the rest is cut off."""
MOST_CODE = 200
MOST_SAID = 500
"""Characters of what an exception says that travel: it is noted for every attempt."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to send, and the rows that are marked once the broker has confirmed it (none: it is not stored)."""

    reply: Envelope
    keys: tuple[str, ...] = ()
    repeated: bool = False


class ReplyTooLarge(Exception):
    """A reply that no broker would take: a bug of its handler, so the command fails and leaves no effect."""


class UnreadableRow(Exception):
    """What a row keeps is nothing that this version knows: a newer one has written it. It is left to that one."""


class ForgottenEffect(Exception):
    """The command lies behind the horizon, and has no row: its answer, if there was one, is not known any more."""


def keeping(row: Row, message: Envelope) -> Row:
    """The same row with this in it: the reply, or of an intent the command."""
    return row.keeping(message.dumps())


def kept(row: Row) -> Envelope:
    """What `keeping` put there, read as if it came from outside; raises UnreadableRow."""
    kind: MessageKind = "command" if row.state == "intent" else "reply"
    try:
        envelope = Envelope.loads(row.content)
        readable = decode(encode(envelope)).kind == kind
    except Exception:
        raise UnreadableRow from None
    if not readable:
        raise UnreadableRow
    return envelope


def stored(row: Row) -> Answer:
    """The answer that a row keeps; raises UnreadableRow."""
    return Answer(kept(row), (row.key,), repeated=True)


def addressed(given: Answer, command: Envelope) -> Answer:
    """The answer to whoever asks now: a stored one was made for whoever asked first, whose queue may be gone."""
    if given.reply.to == command.reply_to:
        return given
    return replace(given, reply=replace(given.reply, to=command.reply_to))


def answer(
    command: Envelope, source: str, now: float, body: Reply, outcome: ReplyOutcome = "ok", *, undone: str = ""
) -> Envelope:
    """The reply to a command: to whoever sent it, under its key, caused by it. Raises ReplyTooLarge, or
    MessageUnwritable for another reason why nobody could read it."""
    data = body.to_json()
    if len(data.encode()) > MAX_BODY:
        raise ReplyTooLarge
    if why := why_unreadable(data):
        raise MessageUnwritable(f"A {body.type_name} {why}.")
    return Envelope(
        id=fresh_id(),
        kind="reply",
        type=body.type_name,
        source=source,
        time=now,
        data=data,
        to=command.reply_to,
        subject=command.subject,
        correlation_id=command.correlation_id,
        causation_id=command.id,
        key=command.key,
        saga=command.saga,
        saga_version=command.saga_version,
        step=command.step,
        attempt=command.attempt,
        outcome=outcome,
        undone=undone,
        traceparent=command.traceparent,
        tracestate=command.tracestate,
    )


def refusal(command: Envelope, refused: Refused) -> Failure:
    """The body of a definite no, which it stays whatever a handler gave as its detail."""
    code, detail, data = refused.code, _fit(refused.detail), refused.data
    if isinstance(data, Reply):
        return refusal_with(type(data))(code=code, detail=detail, step=command.step, data=data)
    return Failure(code=code, detail=detail, step=command.step)


def _fit(detail: object) -> str:
    """As text that fits into a reply."""
    try:
        text = "" if detail is None else str(detail)
    except Exception:
        return ""
    return text[:MOST_DETAIL].encode("utf-8", "replace").decode()


def failure(command: Envelope, error: BaseException) -> Failure:
    """The body of "it did not work, it may be tried again", with what the exception said, masked."""
    code = FORGOTTEN if isinstance(error, ForgottenEffect) else type(error).__name__[:MOST_CODE]
    detail = _fit("".join(words(error).values()))[:MOST_SAID]
    return Failure(code=code, detail=detail, step=command.step, kind="failed")

"""Answers to commands: the reply envelopes, and the rows that keep them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from choros.app.sending import Stamp
from choros.errors import MessageUnwritable, Refused
from choros.messages import FORGOTTEN, UNFINISHED, Failure, Reply, refusal_with
from choros.runtime.host.stamping import stamped
from choros.runtime.participant.verdicts import OPEN
from choros.sources import fresh_id
from choros.store.barrier import Row
from choros.telemetry.logs import words
from choros.values import replace
from choros.wire.envelope import MAX_BODY, Envelope, MessageKind, ReplyOutcome, decode, encode, why_unreadable

_WITH_TOKEN = '{"token"'
_BEFORE = "\x1f"
"""In front of a token; no command key holds a control character."""
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

    @property
    def goes_on(self) -> bool:
        """Whether it says that the command is not finished yet. That is stored nowhere."""
        return not self.keys


class ReplyTooLarge(Exception):
    """A reply that no broker would take: a bug of its handler, so the command fails and leaves no effect."""


class UnreadableRow(Exception):
    """What a row keeps is nothing that this version knows: a newer one has written it. It is left to that one."""


class ForgottenEffect(Exception):
    """The command lies behind the horizon, and has no row: its answer, if there was one, is not known any more."""


def keeping(row: Row, message: Envelope, token: str = "") -> Row:
    """The same row with this in it: the reply, or of what is open the command; and the token, if there is one."""
    text = message.dumps()
    return row.keeping(json.dumps({"token": token, "message": text}) if token else text)


def kept(row: Row) -> Envelope:
    """The message that `keeping` put there, read as if it came from outside; raises UnreadableRow."""
    kind: MessageKind = "command" if row.state in OPEN else "reply"
    try:
        text = row.content
        envelope = Envelope.loads(json.loads(text)["message"] if text.startswith(_WITH_TOKEN) else text)
        readable = decode(encode(envelope)).kind == kind
    except Exception:
        raise UnreadableRow from None
    if not readable:
        raise UnreadableRow
    return envelope


def repeats(row: Row, command: Envelope) -> bool:
    """Whether the row is about this attempt of the command, or a later one."""
    return command.attempt <= kept(row).attempt


def token_of(row: Row) -> str:
    """The token that `keeping` put there, or none."""
    text = row.content
    try:
        return str(json.loads(text)["token"]) if text.startswith(_WITH_TOKEN) else ""
    except (ValueError, KeyError):
        raise UnreadableRow from None


def token_key(token: str) -> str:
    """The key of the row by which a token is found."""
    return f"token{_BEFORE}{token}"


def leading_to(row: Row, key: str) -> Row:
    """The same row of a token, leading to this key."""
    return row.keeping(key)


def leads_to(row: Row) -> str:
    """The key that `leading_to` put there."""
    return row.content


def stored(row: Row) -> Answer:
    """The answer that a row keeps; raises UnreadableRow."""
    return Answer(kept(row), (row.key,), repeated=True)


def addressed(given: Answer, command: Envelope) -> Answer:
    """The answer to whoever asks now: a stored one was made for whoever asked first, whose queue may be gone."""
    if given.reply.to == command.reply_to:
        return given
    return replace(given, reply=replace(given.reply, to=command.reply_to))


def answer(
    command: Envelope, source: str, now: float, body: Reply, outcome: ReplyOutcome = "ok",
    *, undone: str = "", stamps: Sequence[Stamp] = (),
) -> Envelope:  # fmt: skip
    """The reply to a command: to whoever sent it, under its key, caused by it. Raises ReplyTooLarge, or
    MessageUnwritable for another reason why nobody could read it."""
    data = body.to_json()
    if len(data.encode()) > MAX_BODY:
        raise ReplyTooLarge
    if why := why_unreadable(data):
        raise MessageUnwritable(f"A {body.type_name} {why}.")
    reply = Envelope(
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
        own_headers=command.own_headers,
    )
    return stamped(reply, stamps) if stamps else reply


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


def unfinished(command: Envelope) -> Failure:
    """The body of "it is taken, and somebody outside finishes it"."""
    return Failure(code=UNFINISHED, step=command.step, kind="failed")

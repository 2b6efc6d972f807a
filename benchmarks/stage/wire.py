"""Messages as text, and envelopes on the wire."""

from __future__ import annotations

from benchmarks.pattern import APP, NAMESPACE, Pattern
from benchmarks.stage.stage import PART, Stage, each
from choros.messages import Message
from choros.runtime.host.admission import check_command, understood
from choros.runtime.orchestrator.replies import read_reply
from choros.sources import fresh_id
from choros.telemetry.logs import get_logger
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, decode, encode, why_unreadable
from reference_services import contracts

_names = Names(NAMESPACE)
_log = get_logger("choros.bench")


def wire_stages(pattern: Pattern) -> list[Stage]:
    """What a message is, to whoever gets it, whatever broker there is."""
    return [
        each("command understood", 3, 4, _understood, pattern.commands),
        each("reply understood", 3, 2, _read, pattern.replies),
    ]


def text_stages(pattern: Pattern) -> list[Stage]:
    """Parts of other stages, in which they are done again and again."""
    envelopes = [*pattern.commands, *pattern.replies, pattern.fact]
    messages = [_message(one) for one in envelopes]
    texts = [(type(one), one.to_json()) for one in messages]
    return [
        each("message to text", 8, 1, Message.to_json, messages, of=PART),
        each("text to message", 13, 1.5, lambda one: one[0].from_json(one[1]), texts, of=PART),
        each("size and depth of a body", 8, 0.4, why_unreadable, [one.data for one in envelopes], of=PART),
        each("envelope onto the wire", 7, 3, encode, envelopes, of=PART),
        each("envelope off the wire", 7, 6, decode, [encode(one) for one in envelopes], of=PART),
        each("envelope to text", 7, 4, Envelope.dumps, envelopes, of=PART),
        each("fresh id", 12, 1, lambda _: fresh_id(), range(100), of=PART),
        each("routine event, which nobody hears", 8, 0.1, _routine_event, range(100), of=PART),
    ]


def _message(envelope: Envelope) -> Message:
    kinds = [kind for kind in vars(contracts).values() if isinstance(kind, type) and issubclass(kind, Message)]
    (kind,) = (kind for kind in kinds if getattr(kind, "type_name", "") == envelope.type)
    return kind.from_json(envelope.data)


def _understood(envelope: Envelope) -> None:
    check_command(understood(envelope, APP.services[envelope.to]), _names)


def _read(envelope: Envelope) -> None:
    read_reply(envelope, _names.way_of("reply", envelope.source), _names, "orders")


def _routine_event(attempt: int) -> None:
    _log.debug("choros.saga.sent", step="charge_payment", attempt=attempt, code="", saga_id="0" * 36)

"""The envelope: CloudEvents 1.0, its AMQP binding mapped onto AMQP 0-9-1 properties and headers.

`docs/protocol.md` is the reference for other languages. Binary mode is written; structured mode is read as well.
Reading is strict about what choros needs and tolerant about the rest: native or string values, both separators.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from choros.errors import MessageRejected
from choros.values import quickly_made
from choros.wire.attributes import (
    MAX_DEPTH,
    STRING,
    is_too_deep,
    one_of,
    read_aside,
    read_count,
    read_text,
    read_time,
    read_traceparent,
    rfc3339,
)
from choros.wire.own_headers import read_own_headers

MessageKind = Literal["command", "reply", "fact", "signal"]
ReplyOutcome = Literal["ok", "refused", "failed"]

MAX_BODY, MAX_HEADERS = 1024 * 1024, 8 * 1024
"""Bytes; RabbitMQ 4 itself stops at 16 MiB."""
UNREADABLE = "x-choros-unreadable"
"""The header that an adapter adds to a message whose properties or headers it could not decode: those bytes."""
CONTENT_TYPE = "application/json"
"""Of what is sent in binary mode."""
_KNATIVE = "ce-"  # how the RabbitMQ binding of Knative begins the same headers
_JSON = re.compile(r"[^/;\s]+/(?:[^/;\s]+\+)?json")
_MOST_DIGITS = 4300  # of a whole number that Python and pydantic read
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (_MOST_DIGITS + 1))


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One message with everything that is said about it. Times are seconds since the epoch."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    id: str
    """The event's identity: survives every resend. (The AMQP message_id is another, fresh for every publish.)"""
    kind: MessageKind
    type: str
    source: str
    time: float
    data: str
    """The body, as JSON text."""
    to: str = ""
    """Where it goes: the service of a command, the reply queue of a reply. Not written on the wire."""
    subject: str = ""
    correlation_id: str = ""
    """The saga's id."""
    causation_id: str = ""
    """The id of the message that caused this one; empty on the first."""
    key: str = ""
    """Idempotency key: see `choros.sources.CommandKey`."""
    saga: str = ""
    saga_version: int = 0
    step: str = ""
    attempt: int = 0
    outcome: ReplyOutcome | Literal[""] = ""
    """How a command went; on replies only."""
    undone: str = ""
    """Of a refusal: what the participant has taken back itself, as `wire/undone.py` writes and reads it."""
    reply_to: str = ""
    not_after: float | None = None
    """A participant refuses the command past it."""
    began: float | None = None
    """When the first `do` of its effect was sent; of a fact: when its saga or flow began. It is in all messages about
    one thing, so whoever has forgotten old things can tell what it may have forgotten."""
    stream: str = ""
    """With `seq`, the identity of a fact at its source."""
    seq: int = 0
    flow: str = ""
    flow_version: int = 0
    flow_id: str = ""
    """Of a fact of a flow: which choreography and run it is of. Whoever reacts to it says the same."""
    traceparent: str = ""
    tracestate: str = ""
    own_headers: str = ""

    def dumps(self) -> str:
        """The envelope as one JSON text, for stores."""
        return _stored().serializer.to_json(self, exclude_defaults=True, warnings=False).decode()

    @staticmethod
    def loads(text: str | bytes) -> Envelope:
        """Read what `dumps` wrote; raises ValueError where it is anything else, or says what only a newer choros knows.

        What was read can be sent."""
        try:
            envelope = _stored().validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise ValueError(f"{where}: {first['type']}") from None
        try:
            encode(envelope)
        except (ValueError, OverflowError, OSError):
            raise ValueError("a time that no calendar has") from None
        return envelope


@cache
def _stored() -> TypeAdapter[Envelope]:
    return TypeAdapter(Envelope)


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Envelope)}


@quickly_made
@dataclass(frozen=True, slots=True)
class Wire:
    """A message as the broker carries it, before anything in it is believed."""

    body: bytes
    headers: Mapping[str, Any]
    content_type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    type: str | None = None
    app_id: str | None = None
    timestamp: int | None = None

    def read(self) -> Envelope:
        """What `decode` reads."""
        return decode(self)


ATTRIBUTES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "id": ("id", read_text),
    "kind": ("sagakind", one_of("command", "reply", "fact", "signal")),
    "type": ("type", read_text),
    "source": ("source", read_text),
    "time": ("time", read_time),
    "subject": ("subject", read_text),
    "correlation_id": ("correlationid", read_text),
    "causation_id": ("causationid", read_text),
    "key": ("idempotencykey", read_text),
    "saga": ("saganame", read_text),
    "saga_version": ("sagaversion", read_count),
    "step": ("sagastep", read_text),
    "attempt": ("sagaattempt", read_count),
    "outcome": ("sagaoutcome", one_of("ok", "refused", "failed")),
    "undone": ("sagaundone", read_aside),
    "not_after": ("expirytime", read_time),
    "began": ("begantime", read_time),
    "stream": ("factstream", read_text),
    "seq": ("factseq", read_count),
    "flow": ("flowname", read_text),
    "flow_version": ("flowversion", read_count),
    "flow_id": ("flowid", read_text),
    "traceparent": ("traceparent", read_traceparent),
    "tracestate": ("tracestate", read_aside),
    "own_headers": ("ownheaders", read_own_headers),
}
"""What each field is called on the wire, and how it is read."""
DO_EXPIRY = "doexpirytime"
"""`expirytime` tells anybody on the way that a message may be dropped past it, which no undo and no close may be: what
they say of their `do` has a name of its own. Older ones write `expirytime`; without it they keep a tombstone longer."""
_HEADERS = [
    (f"cloudEvents_{attribute}", _DEFAULTS[field], read is read_time) for field, (attribute, read) in ATTRIBUTES.items()
]
_EXPIRY, _DO_EXPIRY = f"cloudEvents_{ATTRIBUTES['not_after'][0]}", f"cloudEvents_{DO_EXPIRY}"
_attributes = attrgetter(*ATTRIBUTES)
_REQUIRED: dict[str, tuple[str, ...]] = {
    "command": ("correlation_id", "key", "saga", "saga_version", "step", "attempt"),
    "reply": ("correlation_id", "key", "saga", "saga_version", "step", "attempt", "outcome", "causation_id"),
    "fact": ("stream", "seq"),
    "signal": ("saga",),
}
_OF_ALL = frozenset(("id", "kind", "type", "source", "time"))
_NEEDED = {kind: frozenset(("specversion", *_OF_ALL, *more)) for kind, more in _REQUIRED.items()} | {"": _OF_ALL}
READERS = {f"cloudEvents_{attribute}": (field, read) for field, (attribute, read) in ATTRIBUTES.items()} | {
    "cloudEvents_specversion": ("specversion", one_of("1.0")),
    _DO_EXPIRY: ("_not_after", read_time),
    "traceparent": ("_traceparent", read_traceparent),
    "tracestate": ("_tracestate", read_aside),
}
"""What becomes of each header that `encode` writes."""


def encode(envelope: Envelope) -> Wire:
    """Write an envelope in binary mode."""
    headers: dict[str, Any] = {"cloudEvents_specversion": "1.0"}
    for (name, default, is_time), value in zip(_HEADERS, _attributes(envelope), strict=True):
        if value != default:
            if name == _EXPIRY and not is_do(envelope.key):
                name = _DO_EXPIRY
            headers[name] = rfc3339(value) if is_time else value
    for name in ("traceparent", "tracestate"):
        if text := getattr(envelope, name):
            _write_trace(headers, name, ATTRIBUTES[name][1](text))
    return Wire(
        body=envelope.data.encode(), headers=headers, content_type=CONTENT_TYPE, reply_to=envelope.reply_to or None,
        correlation_id=envelope.correlation_id or None, type=envelope.type,
        app_id=envelope.source.rsplit("/", 1)[-1], timestamp=int(envelope.time),
    )  # fmt: skip


def _write_trace(headers: dict[str, Any], name: str, text: str) -> None:
    """Twice: for who reads CloudEvents, and for who reads W3C's trace context."""
    if text:
        headers[name] = text
    else:  # a receiver would leave it out, or for its sake park the message
        del headers[f"cloudEvents_{name}"]


def decode(wire: Wire) -> Envelope:
    """Read an envelope, believing nothing; raises MessageRejected, which never repeats what the message said."""
    if len(wire.body) <= MAX_BODY and wire.content_type == CONTENT_TYPE and (envelope := _quickly(wire)):
        return envelope
    attributes, data = read_event(wire)
    fields = _fields(attributes, wire.reply_to)
    _check_complete(fields)
    return Envelope(data=data, **fields)


def read_event(wire: Wire) -> tuple[dict[str, Any], str]:
    """The attributes of an event, and its data; raises MessageRejected."""
    _check_whole(wire)
    if (wire.content_type or "").lower().startswith("application/cloudevents"):
        attributes, data = _structured(wire.body)
    else:
        _check_json(wire.content_type)
        attributes, data = _binary(wire.headers), _text(wire.body)
        attributes.setdefault("traceparent", wire.headers.get("traceparent"))
        attributes.setdefault("tracestate", wire.headers.get("tracestate"))
    return attributes, data


def _quickly(wire: Wire) -> Envelope | None:
    """It, in one pass over headers that are all as `encode` writes them, or None: others take a closer look, which
    takes three times as long, and says what is wrong."""
    fields: dict[str, Any] = {}
    size = 0
    try:
        for name, value in wire.headers.items():
            field, read = READERS[name]
            fields[field] = read(value)
            size += len(name) + (len(value) if type(value) is str else 0)
        if wire.reply_to:
            fields["reply_to"] = read_text(wire.reply_to)
    except (KeyError, ValueError, OverflowError):
        return None
    return None if size > MAX_HEADERS else assembled(fields, wire.body)


def assembled(fields: dict[str, Any], body: bytes) -> Envelope | None:
    """The envelope of what READERS have read, which is used up, or None where it is not as `encode` writes it; raises
    MessageRejected where the body is no text."""
    if not fields.keys() >= _NEEDED[fields.get("kind", "")]:
        return None
    del fields["specversion"]
    traced = fields.pop("_traceparent", ""), fields.pop("_tracestate", "")
    if traced != (fields.get("traceparent", ""), fields.get("tracestate", "")):
        return None
    if (expiry := fields.pop("_not_after", None)) is not None and not is_do(fields.get("key", "")):
        fields["not_after"] = expiry
    return Envelope(data=_text(body), **fields)


def text_of(wire: Wire) -> str:
    """The body of any message, as text that may be JSON; raises MessageRejected."""
    _check_whole(wire)
    return _text(wire.body)


def _check_whole(wire: Wire) -> None:
    if UNREADABLE in wire.headers:
        raise MessageRejected("The properties or headers of the message cannot be decoded.")
    if len(wire.body) > MAX_BODY:
        raise MessageRejected(f"The body is larger than {MAX_BODY} bytes.")
    if _size(wire.headers) > MAX_HEADERS:
        raise MessageRejected(f"The headers are larger than {MAX_HEADERS} bytes.")


def _check_json(media_type: Any) -> None:
    """Absent is JSON, and so is every subtype of it, whatever its parameters say."""
    said = media_type or CONTENT_TYPE
    if not (isinstance(said, str) and _JSON.fullmatch(said.partition(";")[0].strip().lower())):
        raise MessageRejected("The content type is not JSON.")


def why_unreadable(body: str) -> str:
    """Why no receiver would take this body, as the end of a sentence; empty where it would."""
    data = body.encode()
    if len(data) > MAX_BODY:
        return f"has more than {MAX_BODY} bytes"
    if len(data) > _MOST_DIGITS and _LONG_NUMBER.search(data) and _LONG_NUMBER.search(STRING.sub(b"", data)):
        return f"has a number of more than {_MOST_DIGITS} digits"
    return f"is nested deeper than {MAX_DEPTH} levels" if is_too_deep(data) else ""


def is_sendable(envelope: Envelope) -> bool:
    """Whether it can be written, and what is written of it can be read."""
    try:
        wire = encode(envelope)
        _check_whole(wire)
        _fields(_binary(wire.headers))
    except (ValueError, OverflowError, OSError, MessageRejected):
        return False
    return True


def _size(headers: Mapping[Any, Any]) -> int:
    """Characters, roughly; the broker's own (x-death) are not counted, tables and arrays are never read."""
    parts = (part for header in headers.items() if not str(header[0]).startswith("x-") for part in header)
    return sum(len(part) for part in parts if isinstance(part, (str, bytes)))


def _binary(headers: Mapping[Any, Any]) -> dict[str, Any]:
    written, other, knative = (_after(prefix, headers) for prefix in ("cloudEvents_", "cloudEvents:", _KNATIVE))
    if written and other:
        raise MessageRejected("The headers mix the prefixes 'cloudEvents_' and 'cloudEvents:'.")
    return written or other or knative


def _after(prefix: str, headers: Mapping[Any, Any]) -> dict[str, Any]:
    return {name[len(prefix) :]: value for name, value in headers.items() if str(name).startswith(prefix)}


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MessageRejected("The body is not UTF-8.") from None
    _check_depth(body)
    return text


def _check_depth(body: bytes) -> None:
    if is_too_deep(body):
        raise MessageRejected(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _structured(body: bytes) -> tuple[dict[str, Any], str]:
    _check_depth(body)
    try:
        event = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise MessageRejected("The body is not JSON.") from None
    if not isinstance(event, dict) or "data" not in event:
        raise MessageRejected("The body is no CloudEvent with data.")
    _check_json(event.get("datacontenttype"))
    try:
        return event, json.dumps(event.pop("data"), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        raise MessageRejected("The body has a number that JSON cannot hold.") from None


def _fields(attributes: Mapping[str, Any], reply_to: Any = None) -> dict[str, Any]:
    if attributes.get("specversion") not in ("1.0", b"1.0"):
        raise MessageRejected("The message is no CloudEvent of specversion 1.0.")
    fields: dict[str, Any] = {}
    attribute = ""
    try:
        for field, (attribute, read) in ATTRIBUTES.items():
            if (value := attributes.get(attribute)) is not None:
                fields[field] = read(value)
        attribute = DO_EXPIRY
        if (value := attributes.get(attribute)) is not None and not is_do(fields.get("key", "")):
            fields["not_after"] = read_time(value)
        attribute = "reply_to"
        if reply_to:
            fields[attribute] = read_text(reply_to)
    except (ValueError, OverflowError):
        raise MessageRejected(f"The attribute {attribute} has no acceptable value.") from None
    return fields


def is_do(key: str) -> bool:
    """Whether this is the idempotency key of a `do`: see DO_EXPIRY."""
    return key.endswith(":do")


def _check_complete(fields: Mapping[str, Any]) -> None:
    needed = (*_OF_ALL, *_REQUIRED.get(fields.get("kind", ""), ()))
    missing = [ATTRIBUTES[field][0] for field in needed if field not in fields]
    if missing:
        raise MessageRejected(f"The message lacks {', '.join(missing)}.")

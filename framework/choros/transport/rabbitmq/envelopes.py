"""An envelope as AMQP 0-9-1 has it, written and read in one pass.

Elsewhere it becomes a `Wire` first, with a table of headers that is gone through again and again: that took five times
as long (docs/performance.md). What is written here is what `packing` writes of `wire.envelope.encode`, in another order
of headers, which says nothing; what is read here is what `wire.envelope.decode` reads. Whatever looks otherwise than we
write it is not read here at all.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import pamqp.encode

from choros.wire.attributes import read_aside, read_count, read_text, read_time, rfc3339
from choros.wire.envelope import (
    ATTRIBUTES,
    CONTENT_TYPE,
    DO_EXPIRY,
    MAX_BODY,
    MAX_HEADERS,
    READERS,
    Envelope,
    assembled,
    is_do,
)

_HEAD = struct.Struct(">BHIHHQH").pack
_LENGTH = struct.Struct(">I").pack
_PACK_TIME = struct.Struct(">Q").pack
_HEADER, _BASIC, _WEIGHT, _END = 2, 60, 0, b"\xce"
_SIZES = 14
"""Bytes of class, weight, body size and flags."""
_SHORT_STRING = 255
_YEAR_10000 = 253402300800
_PERSISTENT = b"\x02"
"""The delivery mode of what the broker keeps on disk."""
_SHARED = ("kind", "type", "source", "saga", "saga_version", "step", "flow", "flow_version")
"""Fields that many messages have in common: packed once."""
_TEXTS = ("subject", "correlation_id", "causation_id", "key", "outcome", "undone", "stream", "flow_id", "own_headers")
_COUNTS = ("attempt", "seq")
_TRACES = ("traceparent", "tracestate")
_shared_of, _texts_of = attrgetter(*_SHARED), attrgetter(*_TEXTS)


def _framed(channel: int, size: int, flags: int, properties: bytes) -> bytes:
    """The frame of a content header, before a body of this size."""
    head = _HEAD(_HEADER, channel, _SIZES + len(properties), _BASIC, _WEIGHT, size, flags)
    return head + properties + _END


def _short(text: str) -> bytes:
    """A property; nothing where it is too long for one: all that matters is in the headers as well."""
    data = text.encode()
    return bytes((len(data),)) + data if data and len(data) <= _SHORT_STRING else b""


def _moment(seconds: int) -> bytes:
    """A time, as a property; raises ValueError where no calendar has it."""
    if not 0 <= seconds < _YEAR_10000:
        raise ValueError("No calendar has this time.")
    return _PACK_TIME(seconds)


def _entry(name: str, value: Any) -> bytes:
    """One header, as it stands in the table; raises as pamqp does."""
    return pamqp.encode.field_table({name: value})[4:]


@lru_cache(maxsize=1024)
def _text_under(name: str) -> bytes:
    """How an entry of this name begins, up to the length of its text."""
    return _entry(name, "")[:-4]


def _header(field: str) -> str:
    return f"cloudEvents_{ATTRIBUTES[field][0]}"


_SPECVERSION = _entry("cloudEvents_specversion", "1.0")
_UNDER = [_text_under(_header(field)) for field in _TEXTS]
_ID, _TIME, _BEGAN = (_text_under(_header(field)) for field in ("id", "time", "began"))
_EXPIRY, _DO_EXPIRY = _text_under(_header("not_after")), _text_under(f"cloudEvents_{DO_EXPIRY}")
_CONTENT_TYPE = _short(CONTENT_TYPE)
_ALWAYS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6
"""Flags of content type, headers, delivery mode, message id and timestamp."""
_CORRELATION_ID, _REPLY_TO, _TYPE, _APP_ID = 1 << 10, 1 << 9, 1 << 5, 1 << 3


def envelope_frame(channel: int, envelope: Envelope, size: int, message_id: str) -> bytes:
    """The content header of an envelope whose body has this size; raises one of UNENCODABLE."""
    flags, shared, sender = _packed_once(*_shared_of(envelope))
    entries = shared + b"".join(_entries(envelope))
    correlation_id, reply_to = _short(envelope.correlation_id), _short(envelope.reply_to)
    if correlation_id:
        flags |= _CORRELATION_ID
    if reply_to:
        flags |= _REPLY_TO
    properties = (
        _CONTENT_TYPE, _LENGTH(len(entries)), entries, _PERSISTENT, correlation_id, reply_to, _short(message_id),
        _moment(int(envelope.time)), sender,
    )  # fmt: skip
    return _framed(channel, size, flags, b"".join(properties))


@lru_cache(maxsize=1024)
def _packed_once(kind: str, type_name: str, source: str, *more: str | int) -> tuple[int, bytes, bytes]:
    """Flags, entries, and what stands at the end of the properties."""
    entries = [_SPECVERSION]
    for field, value in zip(_SHARED, (kind, type_name, source, *more), strict=True):
        if value or field in ("kind", "type", "source"):
            entries.append(_entry(_header(field), value))
    type_property, app_id = _short(type_name), _short(source.rsplit("/", 1)[-1])
    flags = _ALWAYS | (_TYPE if type_property else 0) | (_APP_ID if app_id else 0)
    return flags, b"".join(entries), type_property + app_id


def _entries(envelope: Envelope) -> list[bytes]:
    """Those that are its own."""
    id, time = envelope.id.encode(), rfc3339(envelope.time).encode()
    parts = [_ID, _LENGTH(len(id)), id, _TIME, _LENGTH(len(time)), time]
    for under, value in zip(_UNDER, _texts_of(envelope), strict=True):
        if value:
            text = value.encode()
            parts += (under, _LENGTH(len(text)), text)
    if envelope.not_after is not None:
        parts += _time_under(_EXPIRY if is_do(envelope.key) else _DO_EXPIRY, envelope.not_after)
    if envelope.began is not None:
        parts += _time_under(_BEGAN, envelope.began)
    if envelope.attempt:
        parts.append(_count("attempt", envelope.attempt))
    if envelope.seq:
        parts.append(_count("seq", envelope.seq))
    if envelope.traceparent or envelope.tracestate:
        parts += _trace(envelope)
    return parts


def _time_under(under: bytes, seconds: float) -> tuple[bytes, bytes, bytes]:
    text = rfc3339(seconds).encode()
    return under, _LENGTH(len(text)), text


@lru_cache(maxsize=1024)
def _count(field: str, value: int) -> bytes:
    return _entry(_header(field), value)


def _trace(envelope: Envelope) -> list[bytes]:
    """Twice, as `encode` says it."""
    read = {field: ATTRIBUTES[field][1](getattr(envelope, field)) for field in _TRACES}
    return [_entry(name, text) for field, text in read.items() if text for name in (_header(field), field)]


# --- reading ---

_START = struct.Struct(f">H{len(_CONTENT_TYPE)}sI")
"""Flags, content type, and the length of the table, which follows."""
_MAY_BE = _CORRELATION_ID | _REPLY_TO | _TYPE | _APP_ID
_SHORTER = "\0\0\0"
"""How the length of a text begins that is shorter than 256."""
_TIME_SIZE, _UNPACK_TIME = 8, struct.Struct(">Q").unpack_from
_Reader = Callable[[Any], Any]


def _named(name: str, letter: str) -> str:
    return f"{chr(len(name))}{name}{letter}"


_QUICKER: dict[_Reader, _Reader | None] = {
    read_text: None,
    read_aside: None,
    read_time: lru_cache(maxsize=256)(read_time),
}
_READ_TEXT: dict[str, tuple[str, _Reader | None]] = {
    _named(name, "S"): (field, _QUICKER.get(read, read)) for name, (field, read) in READERS.items()
}
"""By how an entry begins, up to its value: a text, and how it is read where not all texts will do."""
_READ_NUMBER: dict[str, tuple[str, struct.Struct]] = {
    _named(_header(field), letter): (field, struct.Struct(form))
    for field, (_, read) in ATTRIBUTES.items()
    if read is read_count
    for letter, form in (("b", ">b"), ("s", ">h"), ("u", ">H"), ("I", ">i"), ("i", ">I"), ("l", ">q"))
}
"""The same of a number."""


def read_quickly(properties: bytes, body: bytes) -> Envelope | None:
    """What `decode` reads of them, or None where they are not just as we write them; raises MessageRejected where the
    body is no text."""
    try:
        flags, content_type, length = _START.unpack_from(properties)
        if content_type != _CONTENT_TYPE or flags & ~_MAY_BE != _ALWAYS or length > MAX_HEADERS or len(body) > MAX_BODY:
            return None
        end = _START.size + length
        own = properties.index(_ID, _START.size, end)
        fields = _read_once(properties[_START.size : own]).copy()
        _read_entries(properties, own, end, fields)
        _read_rest(properties, end, flags, fields)
    except (LookupError, ValueError, OverflowError, struct.error):
        return None
    return assembled(fields, body)


@lru_cache(maxsize=256)
def _read_once(entries: bytes) -> dict[str, Any]:
    """What many messages have in common."""
    fields: dict[str, Any] = {}
    _read_entries(entries, 0, len(entries), fields)
    return fields


def _read_entries(data: bytes, at: int, end: int, fields: dict[str, Any]) -> None:
    """Name, type and value, again and again; raises LookupError or ValueError for what we do not write, and where a
    text has what is not ASCII or is longer than a byte says."""
    text = data.decode("latin-1")
    while at < end:
        begin, at = at, at + data[at] + 2
        known = _READ_TEXT.get(text[begin:at])
        if known is None:
            field, number = _READ_NUMBER[text[begin:at]]
            fields[field] = read_count(number.unpack_from(data, at)[0])
            at += number.size
            continue
        begin = at + 4
        if text[at : begin - 1] != _SHORTER:
            raise ValueError
        at = begin + data[begin - 1]
        value, (field, read) = text[begin:at], known
        if not (value and value.isascii() and value.isprintable()):
            raise ValueError
        fields[field] = read(value) if read else value
    if at != end:
        raise ValueError


def _read_rest(data: bytes, at: int, flags: int, fields: dict[str, Any]) -> None:
    """What stands behind the table. All of it must be readable, though only one of them is wanted here."""
    begin = at = at + len(_PERSISTENT)
    if flags & _CORRELATION_ID:
        at += 1 + data[at]
    if flags & _REPLY_TO:
        start = at + 1
        at = start + data[at]
        if start < at:
            fields["reply_to"] = read_text(data[start:at].decode())
    at += 1 + data[at]  # message id
    if not data[begin:at].isascii() or _UNPACK_TIME(data, at)[0] >= _YEAR_10000:
        raise ValueError
    _check_sender(data[at + _TIME_SIZE :], flags & (_TYPE | _APP_ID))


@lru_cache(maxsize=256)
def _check_sender(data: bytes, flags: int) -> None:
    """Raises ValueError where these are not type and application, and nothing else."""
    at = 0
    for _ in range(flags.bit_count()):
        start, at = at + 1, at + 1 + data[at]
        data[start:at].decode()
    if at != len(data):
        raise ValueError

"""Properties and headers of a message, packed as AMQP 0-9-1 has them.

pamqp looks at the type of each value and of each property, again for every message. Nearly all that is sent are texts
under the same few names, which takes a quarter of the time; any other value pamqp packs.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pamqp.encode

from choros.wire.envelope import Wire

_HEAD = struct.Struct(">BHIHHQH").pack
_LENGTH = struct.Struct(">I").pack
_TIME = struct.Struct(">Q").pack
_HEADER, _BASIC, _WEIGHT, _END = 2, 60, 0, b"\xce"
_SIZES = 14
"""Bytes of class, weight, body size and flags."""
_SHORT_STRING = 255
_YEAR_10000 = 253402300800
_PERSISTENT = b"\x02"
_BYTES = [bytes([size]) for size in range(_SHORT_STRING + 1)]


def header_frame(channel: int, wire: Wire, message_id: str) -> bytes:
    """The content header of a persistent message; raises as pamqp does for what AMQP cannot carry."""
    flags, parts = 0, list[bytes]()
    for flag, packed in (
        (1 << 15, _short(wire.content_type)),
        (1 << 13, _table(wire.headers)),
        (1 << 12, _PERSISTENT),
        (1 << 10, _short(wire.correlation_id)),
        (1 << 9, _short(wire.reply_to)),
        (1 << 7, _short(message_id)),
        (1 << 6, _moment(wire.timestamp)),
        (1 << 5, _short(wire.type)),
        (1 << 3, _short(wire.app_id)),
    ):
        if packed:
            flags |= flag
            parts.append(packed)
    properties = b"".join(parts)
    head = _HEAD(_HEADER, channel, _SIZES + len(properties), _BASIC, _WEIGHT, len(wire.body), flags)
    return head + properties + _END


def _short(text: str | None) -> bytes:
    """A property; nothing where it is too long for one: all that matters is in the headers as well."""
    data = text.encode() if text else b""
    return _BYTES[len(data)] + data if data and len(data) <= _SHORT_STRING else b""


def _moment(seconds: int | None) -> bytes:
    if seconds is None:
        return b""
    if not 0 <= seconds < _YEAR_10000:
        raise ValueError("No calendar has this time.")
    return _TIME(seconds)


def _table(headers: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for name, value in headers.items():
        if type(value) is str:
            text = value.encode()
            parts += (_text_under(name), _LENGTH(len(text)), text)
        else:
            parts.append(pamqp.encode.field_table({name: value})[4:])
    entries = b"".join(parts)
    return _LENGTH(len(entries)) + entries


@lru_cache(maxsize=1024)
def _text_under(name: str) -> bytes:
    """How an entry of this name begins, up to the length of its text."""
    return pamqp.encode.field_table({name: ""})[4:-4]

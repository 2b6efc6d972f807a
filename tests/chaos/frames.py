"""Which frames of a broker have come to somebody: counted on the wire, in the stream that the proxy hands on."""

from __future__ import annotations

import struct
from collections import Counter

COUNTED = ("blocked", "return", "nack", "oversized")
"""An alarm is said; a message comes back, or is not taken; a body comes in several frames."""
_METHODS = {(10, 60): "blocked", (60, 50): "return", (60, 120): "nack"}
_METHOD, _HEADER = 1, 2
_HEAD = struct.Struct(">BHI")
_CLASS_AND_METHOD = struct.Struct(">HH")
_SIZE = struct.Struct(">HHQ")
_END = 1
LARGEST_FRAME = 131_072
"""What RabbitMQ offers, and clients take; a body has eight bytes less."""


class Frames:
    """Reads what a broker says on one connection, in whatever pieces it comes."""

    def __init__(self, counts: Counter[str]) -> None:
        """`counts` may be those of many connections."""
        self._counts = counts
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """The next piece of the stream."""
        self._bytes += data
        at = 0
        while len(self._bytes) >= at + _HEAD.size:
            kind, _, size = _HEAD.unpack_from(self._bytes, at)
            if len(self._bytes) < at + _HEAD.size + size + _END:
                break
            self._count(kind, at + _HEAD.size)
            at += _HEAD.size + size + _END
        del self._bytes[:at]

    def _count(self, kind: int, at: int) -> None:
        if kind == _METHOD and (name := _METHODS.get(_CLASS_AND_METHOD.unpack_from(self._bytes, at))):
            self._counts[name] += 1
        elif kind == _HEADER and _SIZE.unpack_from(self._bytes, at)[2] > LARGEST_FRAME - _HEAD.size - _END:
            self._counts["oversized"] += 1

"""Properties and headers of a message as AMQP 0-9-1 has them, read as far as they can be read.

Whatever a stranger wrote: a text that is not UTF-8, a time in microseconds, tables within tables. The parts have
lengths, so what cannot be read is left out and the rest is read on. The values are those of pamqp, which stops at the
first fault and copies what is left at every value.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from choros.wire.attributes import MAX_DEPTH

SEAL = ""
"""The name of the one header of a sealed message; its value is the bytes of all the properties as they came."""
_UNREADABLE = (ValueError, ArithmeticError, OSError, LookupError, struct.error)
_LENGTH = struct.Struct(">I").unpack_from
_FLAGS = struct.Struct(">H").unpack_from
_UNSIGNED = struct.Struct(">Q").unpack_from
_DECIMAL = struct.Struct(">BI").unpack_from
_LAST_SECOND = 0xFFFFFFFF
"""A later moment is taken for milliseconds, as pamqp does."""
_COUNTED = -1
"""The size of what has its length in front."""
_TEXT = ord("S")


class ReadProperties(NamedTuple):
    """What could be read."""

    values: dict[str, Any]
    """Properties by the names of pamqp, those that are there."""
    whole: bool
    """Whether that is all there was."""


def read_properties(data: bytes) -> ReadProperties:
    """The property flags of a content header and what follows them; raises nothing."""
    reading = _Walk(data)
    try:
        return ReadProperties(reading.properties(), not reading.faults)
    except _UNREADABLE:
        return ReadProperties(reading.found, False)


class _Walk:
    """One walk; the depth and the faults so far."""

    __slots__ = ("data", "depth", "faults", "found")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.depth = 0
        self.faults = 0
        self.found: dict[str, Any] = {}

    def properties(self) -> dict[str, Any]:
        """All whose flag is set; a part whose end cannot be known is the last."""
        data, found, at = self.data, self.found, 2
        (flags,) = _FLAGS(data)
        while data[at - 1] & 1:  # another word of flags, of which none has a meaning
            at += 2
        for flag, name, length_of, read in _PROPERTIES:
            if flags & flag:
                start, at = at, at + length_of(data, at)
                if at > len(data):
                    raise ValueError
                try:
                    found[name] = read(self, start, at)
                except _UNREADABLE:
                    self.faults += 1
        return found

    def table(self, at: int, end: int) -> dict[str, Any]:
        """Name, type and value, again and again; `at` is where the length stands."""
        self._go_deeper()
        found: dict[str, Any] = {}
        data, at = self.data, at + 4
        while at < end:
            start, at = at + 1, at + 1 + data[at]
            ends = self._ends(at, end)
            if not ends:
                break
            try:
                # nearly all are texts, and this is the hot path
                value = data[at + 5 : ends].decode() if data[at] == _TEXT else _READ[data[at]](self, at + 1, ends)
                found[data[start:at].decode()] = value
            except _UNREADABLE:
                self._unread(found, start, at, ends)
            at = ends
        self.depth -= 1
        return found

    def _unread(self, found: dict[str, Any], start: int, at: int, ends: int) -> None:
        """A text that is not UTF-8 counts as bytes; all else is a fault."""
        try:
            if self.data[at] != _TEXT:
                raise ValueError
            found[self.data[start:at].decode()] = self.data[at + 5 : ends]
        except ValueError:
            self.faults += 1

    def array(self, at: int, end: int) -> list[Any]:
        """Type and value, again and again."""
        self._go_deeper()
        found: list[Any] = []
        at += 4
        while at < end and (ends := self._ends(at, end)):
            try:
                found.append(_READ[self.data[at]](self, at + 1, ends))
            except _UNREADABLE:
                self.faults += 1
            at = ends
        self.depth -= 1
        return found

    def _go_deeper(self) -> None:
        if self.depth == MAX_DEPTH:
            raise ValueError
        self.depth += 1

    def _ends(self, at: int, end: int) -> int:
        """Where the value ends whose type stands here; 0, a fault, if that cannot be known."""
        ends = 0
        if at < end:
            size = _SIZES.get(self.data[at], 0)
            ends = at + size
            if size == _COUNTED:
                ends = at + 5 + _LENGTH(self.data, at + 1)[0] if at + 5 <= end else 0
        if at < ends <= end:
            return ends
        self.faults += 1
        return 0


_Read = Callable[[_Walk, int, int], Any]


def _short(reading: _Walk, at: int, end: int) -> str:
    return reading.data[at + 1 : end].decode()


def _long(reading: _Walk, at: int, end: int) -> str | bytes:
    text = reading.data[at + 4 : end]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _time(reading: _Walk, at: int, _: int) -> datetime:
    seconds: float = _UNSIGNED(reading.data, at)[0]
    return datetime.fromtimestamp(seconds / 1000 if seconds > _LAST_SECOND else seconds, UTC)


def _decimal(reading: _Walk, at: int, _: int) -> Decimal:
    places, digits = _DECIMAL(reading.data, at)
    return Decimal(digits) * Decimal((0, (1,), -places))


def _number(form: str) -> _Read:
    unpack = struct.Struct(form).unpack_from
    return lambda reading, at, _: unpack(reading.data, at)[0]


_KINDS: dict[str, tuple[int, _Read]] = {
    "t": (1, _number(">?")),
    "b": (1, _number(">b")),
    "B": (1, _number(">B")),
    "s": (2, _number(">h")),
    "u": (2, _number(">H")),
    "I": (4, _number(">i")),
    "i": (4, _number(">I")),
    "l": (8, _number(">q")),
    "L": (8, _number(">q")),
    "f": (4, _number(">f")),
    "d": (8, _number(">d")),
    "D": (5, _decimal),
    "T": (8, _time),
    "V": (0, lambda *_: None),
    "\0": (0, lambda *_: None),
    "S": (_COUNTED, _long),
    "x": (_COUNTED, lambda reading, at, end: bytearray(reading.data[at + 4 : end])),
    "A": (_COUNTED, _Walk.array),
    "F": (_COUNTED, _Walk.table),
}
"""By the letter of the type: the size and how to read it."""
_SIZES = {ord(letter): size + 1 if size >= 0 else size for letter, (size, _) in _KINDS.items()}
"""With the letter."""
_READ = {ord(letter): read for letter, (_, read) in _KINDS.items()}

_Length = Callable[[bytes, int], int]
_OCTET: tuple[_Length, _Read] = (lambda *_: 1, _number(">B"))
_SHORT: tuple[_Length, _Read] = (lambda data, at: 1 + data[at], _short)
_PROPERTIES: tuple[tuple[int, str, _Length, _Read], ...] = (
    (1 << 15, "content_type", *_SHORT),
    (1 << 14, "content_encoding", *_SHORT),
    (1 << 13, "headers", lambda data, at: 4 + int(_LENGTH(data, at)[0]), _Walk.table),
    (1 << 12, "delivery_mode", *_OCTET),
    (1 << 11, "priority", *_OCTET),
    (1 << 10, "correlation_id", *_SHORT),
    (1 << 9, "reply_to", *_SHORT),
    (1 << 8, "expiration", *_SHORT),
    (1 << 7, "message_id", *_SHORT),
    (1 << 6, "timestamp", lambda *_: 8, _time),
    (1 << 5, "message_type", *_SHORT),
    (1 << 4, "user_id", *_SHORT),
    (1 << 3, "app_id", *_SHORT),
    (1 << 2, "cluster_id", *_SHORT),
)
"""In their order on the wire."""

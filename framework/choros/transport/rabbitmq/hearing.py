"""What the broker says most often, taken from the stream before aiormq: deliveries, confirms and returns.

Each of them costs aiormq three reads for each of its frames, a lock, two passes through a queue and a task, together a
fifth of what a saga cost (docs/performance.md). A channel that listens hears them here, at once and in order; all else,
and all that is said to other channels, goes on to aiormq.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from aiormq.abc import AbstractConnection

from choros.transport.port import Published
from choros.transport.rabbitmq.properties import read_properties


class BrokerDelivery(NamedTuple):
    """`basic.deliver`, with all that followed it."""

    tag: int
    exchange: str
    properties: bytes
    body: bytes
    again: bool = False
    """Whether somebody had it before."""


class BrokerAnswer(NamedTuple):
    """`basic.ack` or `basic.nack` of what was published."""

    tag: int
    multiple: bool
    """Whether it is said of all up to this one."""
    published: Published


class BrokerReturn(NamedTuple):
    """`basic.return`, with all that followed it: the `basic.ack` of the same message comes next."""

    message_id: str


Spoken = BrokerDelivery | BrokerAnswer | BrokerReturn
Ear = Callable[[Spoken], None]
"""Told what the broker says to a channel. It must not raise."""


class _Content:
    """A message that is still coming in."""

    __slots__ = ("again", "body", "left", "properties", "tag", "where")

    def __init__(self, tag: int | None, where: str, *, again: bool = False) -> None:
        self.tag = tag
        """None of one that comes back."""
        self.where, self.again = where, again
        self.left = -1
        """Bytes of the body that have not come; below zero before the header has."""
        self.properties = b""
        self.body: list[bytes] = []


class Hearing:
    """Who listens on one connection."""

    def __init__(self) -> None:
        self._ears: dict[int, Ear] = {}
        self._coming: dict[int, _Content] = {}

    def listen(self, channel: int, ear: Ear) -> None:
        """From now on this channel hears by itself; to be called before it asks for anything of the kind."""
        self._ears[channel] = ear

    def leave(self, channel: int, ear: Ear) -> None:
        """It is closed. Another one may have its number by now."""
        if self._ears.get(channel) == ear:
            del self._ears[channel]
            self._coming.pop(channel, None)

    def listens(self, channel: int) -> bool:
        """Whether anybody does."""
        return channel in self._ears

    def takes(self, kind: int, channel: int, frame: bytes) -> bool:
        """Whether this frame was for somebody who listens; `frame` is without its head and its end."""
        try:
            said = self._read(kind, channel, frame)
        except (struct.error, LookupError):
            return False  # aiormq says what is wrong with it
        if isinstance(said, _Content):
            self._coming[channel] = said
        elif said is not None:
            self._coming.pop(channel, None)
            self._ears[channel](said)
        return said is not None

    def _read(self, kind: int, channel: int, frame: bytes) -> Spoken | _Content | None:
        """What is said with it, or what has come so far."""
        if kind == _METHOD:
            read = _METHODS.get(frame[:_ARGUMENTS])
            return read(frame) if read else None
        content, part = self._coming.get(channel), _PARTS.get(kind)
        return part(content, frame) if content and part else None


_HEARING = "choros.hearing"
"""aiormq says nobody by which reader a connection reads, so that is noted on the connection: the two go together, and
whoever listens holds on to both."""


def hearing_of(connection: AbstractConnection) -> Hearing:
    """Who listens on it."""
    found: Hearing = vars(connection).setdefault(_HEARING, Hearing())
    return found


def hear_by(connection: AbstractConnection, hearing: Hearing) -> None:
    """This is whom the reader of the connection asks."""
    vars(connection)[_HEARING] = hearing


# --- reading ---

_METHOD, _HEADER, _BODY = 1, 2, 3
_TAG = struct.Struct(">Q").unpack_from
_HEADER_SIZES = 12
_BODY_SIZE_AT = 4
_ARGUMENTS = 4
"""Where the arguments of a method begin."""
_TAG_SIZE, _FLAG_SIZE, _CODE_SIZE = 8, 1, 2
_UP_TO = 1
_LONGEST = 255


def _deliver(frame: bytes) -> _Content:
    at = _ARGUMENTS + 1 + frame[_ARGUMENTS]  # behind the consumer's tag
    (tag,) = _TAG(frame, at)
    return _Content(tag, _text(frame, at + _TAG_SIZE + _FLAG_SIZE), again=bool(frame[at + _TAG_SIZE]))


def _return(_: bytes) -> _Content:
    return _Content(None, "")


def _answer(published: Published) -> Callable[[bytes], BrokerAnswer]:
    def read(frame: bytes) -> BrokerAnswer:
        (tag,) = _TAG(frame, _ARGUMENTS)
        return BrokerAnswer(tag, bool(frame[_ARGUMENTS + _TAG_SIZE] & _UP_TO), published)

    return read


_METHODS: dict[bytes, Callable[[bytes], _Content | BrokerAnswer]] = {
    b"\x00\x3c\x00\x3c": _deliver,
    b"\x00\x3c\x00\x32": _return,
    b"\x00\x3c\x00\x50": _answer(Published.CONFIRMED),
    b"\x00\x3c\x00\x78": _answer(Published.NACKED),
}


def _header(content: _Content, frame: bytes) -> Spoken | _Content:
    (content.left,) = _TAG(frame, _BODY_SIZE_AT)
    content.properties = frame[_HEADER_SIZES:]
    return _whole(content)


def _body(content: _Content, frame: bytes) -> Spoken | _Content:
    content.left -= len(frame)
    content.body.append(frame)
    return _whole(content)


def _whole(content: _Content) -> Spoken | _Content:
    """The message, when all of it is there."""
    if content.left > 0:
        return content
    if content.tag is None:
        return BrokerReturn(str(read_properties(content.properties).values.get("message_id", "")))
    return BrokerDelivery(content.tag, content.where, content.properties, b"".join(content.body), content.again)


_PARTS: dict[int, Callable[[_Content, bytes], Spoken | _Content]] = {_HEADER: _header, _BODY: _body}


def _text(frame: bytes, at: int) -> str:
    """A stranger may have named an exchange as he liked."""
    return frame[at + 1 : at + 1 + frame[at]].decode(errors="backslashreplace")[:_LONGEST]

"""Between the broker and aiormq: what a stranger wrote is kept from a client whose connection would end of it.

aiormq decodes each frame as it comes, and the first that it cannot decode takes the connection down, with everything
that is under way on it. Two kinds hold what strangers chose. The properties and headers of a message are *sealed*: they
pass as bytes in one header, and are read where the message is received (`properties`). Texts in a method frame, such as
a routing key, are made UTF-8. Everything else is the broker's own and passes as it is.

It comes in by aiormq's `TransportFactory`, for our connections alone.
"""

import asyncio
import struct
from typing import Any, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from choros.transport.rabbitmq.hearing import Hearing
from choros.transport.rabbitmq.properties import read_properties

_HEAD = struct.Struct(">BHI")
_SEALING = struct.Struct(">HIBcI")
_ENTRY = 6
"""Bytes of a table's entry without name and value."""
_METHOD, _HEADER, _NO_FRAME, _END = 1, 2, ord("A"), b"\xce"
_CHUNK = 256 * 1024
_TEXTS = _HEAD.size + 4
"""Where the arguments of a method begin."""
_LONGEST = 255
_SIZES_END = 12
"""Class, weight and body size, before the properties."""
_HEADERS_FLAG, _MESSAGE_ID_FLAG = 1 << 13, 1 << 7
_RETURN, _CLOSE = b"\x00\x3c\x00\x32", b"\x00\x0a\x00\x32"
_HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_SIGN_SECONDS = 1.0
_SHORT = -1
_LAYOUTS: dict[bytes, tuple[int, ...]] = {
    b"\x00\x3c\x00\x3c": (_SHORT, 9, _SHORT, _SHORT),  # basic.deliver: consumer, tag and flag, exchange, key
    b"\x00\x3c\x00\x47": (9, _SHORT, _SHORT),  # basic.get-ok: tag and flag, exchange, key
    _RETURN: (2, _SHORT, _SHORT, _SHORT),  # basic.return: code, text, exchange, key
    b"\x00\x14\x00\x28": (2, _SHORT),  # channel.close: code, text, which may be cut off within a character
    _CLOSE: (2, _SHORT),  # connection.close: code, text
    b"\x00\x0a\x00\x3c": (_SHORT,),  # connection.blocked
}
"""Where the texts stand behind class and method: bytes to pass over, or `_SHORT`."""


class Guarded(TransportFactory):
    """Opens a connection as aiormq does, or by another opening, with our reader between."""

    def __init__(self, opening: TransportFactory | None = None) -> None:
        self._opening = opening
        self._frames: FrameReader | None = None
        self.hearing = Hearing()
        """Who listens on the connection."""

    @property
    def closed_with(self) -> int:
        """The code that the broker gave when it closed the connection, which the client keeps to itself in the middle
        of a handshake; 0 if it gave none."""
        return self._frames.closed_with if self._frames else 0

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by aiormq."""
        usual = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await (self._opening or usual).create(url, **options)
        self._frames = FrameReader(reader, self.hearing)
        return cast(asyncio.StreamReader, self._frames), writer


class FrameReader:
    """As much of a stream as aiormq uses, which asks for each frame in three parts."""

    def __init__(self, raw: asyncio.StreamReader, hearing: Hearing) -> None:
        self.closed_with = 0
        """The code that the broker gave when it closed the connection."""
        self._raw = raw
        self._hearing = hearing
        self._heard = False
        """Whether something was said that aiormq has not seen, and since when it has seen nothing."""
        self._seen = 0.0
        self._read, self._place = b"", 0
        """What has come, and how far it is cut up."""
        self._frame, self._at = b"", 0
        """What is being handed on, and how far it is."""
        self._returning: set[int] = set()
        """Channels on which a message of ours is coming back."""

    def at_eof(self) -> bool:
        """Whether nothing more will come."""
        return self._at >= len(self._frame) and self._place >= len(self._read) and self._raw.at_eof()

    async def readexactly(self, count: int) -> bytes:
        """The next part of a frame."""
        if self._at >= len(self._frame):
            while not (frame := self._cut() or self._sign_of_life()):
                await self._more()
            self._frame, self._at = frame, 0
        start, self._at = self._at, self._at + count
        return self._frame[start : self._at]

    async def _more(self) -> None:
        rest = self._read[self._place :]
        came = await self._raw.read(_CHUNK)
        if not came:
            raise asyncio.IncompleteReadError(rest, _HEAD.size)
        self._read, self._place = rest + came, 0

    def _sign_of_life(self) -> bytes:
        """Now and then, where all that comes is heard here: aiormq gives up a connection on which it sees nothing."""
        heard, self._heard = self._heard, False
        now = asyncio.get_running_loop().time() if heard else 0.0
        if now < self._seen + _SIGN_SECONDS:
            return b""
        self._seen = now
        return _HEARTBEAT

    def _cut(self) -> bytes:
        """The next frame that aiormq shall see, if all of it has come, as it may have it."""
        read = self._read
        while len(read) - self._place >= _HEAD.size:
            start = self._place
            kind, channel, size = _HEAD.unpack_from(read, start)
            # A broker of another version answers with its own eight bytes, which are no frame.
            end = len(read) if kind == _NO_FRAME else start + _HEAD.size + size + 1
            if end > len(read):
                break
            self._place = end
            if not self._is_heard(kind, channel, start, end):
                return self._as_it_may_be(kind, channel, start, end)
            self._heard = True
        return b""

    def _is_heard(self, kind: int, channel: int, start: int, end: int) -> bool:
        if not self._hearing.listens(channel) or self._read[end - 1 : end] != _END:
            return False
        return self._hearing.takes(kind, channel, self._read[start + _HEAD.size : end - 1])

    def _as_it_may_be(self, kind: int, channel: int, start: int, end: int) -> bytes:
        read, size = self._read, end - start - _HEAD.size - 1
        if kind == _HEADER and size >= _SIZES_END:
            return self._sealed(channel, read[start + _HEAD.size : end - 1])
        if kind == _METHOD:
            return self._legible(channel, read[start:end])
        return read[start:end]

    def _sealed(self, channel: int, payload: bytes) -> bytes:
        sizes, properties = payload[:_SIZES_END], payload[_SIZES_END:]
        flags, message_id = _HEADERS_FLAG, b""
        if channel in self._returning:
            self._returning.discard(channel)
            flags, message_id = _HEADERS_FLAG | _MESSAGE_ID_FLAG, _message_id(properties)
        length = len(properties)
        seal = _SEALING.pack(flags, length + _ENTRY, 0, b"x", length)
        head = _HEAD.pack(_HEADER, channel, _SIZES_END + _SEALING.size + length + len(message_id))
        return b"".join((head, sizes, seal, properties, message_id, _END))

    def _legible(self, channel: int, frame: bytes) -> bytes:
        method = frame[_HEAD.size : _TEXTS]
        if method == _RETURN:
            self._returning.add(channel)
        elif method == _CLOSE:
            self.closed_with = int.from_bytes(frame[_TEXTS : _TEXTS + 2], "big")
        layout = _LAYOUTS.get(method)
        payload = _in_utf8(frame, layout) if layout else None
        if payload is None:
            return frame
        return _HEAD.pack(_METHOD, channel, len(payload)) + payload + _END


def _message_id(properties: bytes) -> bytes:
    """By it aiormq finds out which of our messages is coming back; without it that one would count as taken."""
    text = str(read_properties(properties).values.get("message_id", "")).encode()
    return bytes([len(text)]) + text


def _in_utf8(frame: bytes, layout: tuple[int, ...]) -> bytes | None:
    """The payload with its texts made UTF-8; None if they are, or if they do not fit, which the client will refuse."""
    mended, at, last = b"", _TEXTS, _HEAD.size
    for step in layout:
        if step != _SHORT:
            at += step
            continue
        start, at = at + 1, at + 1 + frame[at] if at < len(frame) else at
        try:
            frame[start:at].decode()
        except UnicodeDecodeError:
            text = frame[start:at].decode(errors="backslashreplace").encode()[:_LONGEST]
            text = text.decode(errors="ignore").encode()  # nor cut off within a character
            mended += frame[last : start - 1] + bytes([len(text)]) + text
            last = at
    return mended + frame[last:-1] if mended else None

"""Frames out of bytes that come in any pieces, and bytes out of frames."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pamqp.frame
from pamqp.base import Frame

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
GREETING = b"AMQP\x00\x00\x09\x01"
"""What a client says first."""
BEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_HEAD = struct.Struct(">BHI")
_END = b"\xce"
_SIZES = struct.Struct(">HHQ")
_BASIC = 60
_DELIVER = struct.Struct(">HH")
_TAG = struct.Struct(">QB")
Cut = tuple[int, int, bytes]
"""Kind, channel and payload of a frame."""


class FrameCutter:
    """Keeps what is not whole yet."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def cut(self, data: bytes) -> Iterator[Cut]:
        """The frames that are whole now; the greeting is one of kind 0."""
        buffer, place = self._rest + data if self._rest else data, 0
        if not self._greeted and len(buffer) >= len(GREETING):
            self._greeted, place = True, len(GREETING)
            self._rest = b""
            yield 0, 0, buffer[:place]
        while self._greeted and len(buffer) - place >= _HEAD.size:
            kind, channel, size = _HEAD.unpack_from(buffer, place)
            end = place + _HEAD.size + size + 1
            if end > len(buffer):
                break
            start, place = place + _HEAD.size, end
            yield kind, channel, buffer[start : end - 1]
        self._rest = buffer[place:]


@lru_cache(maxsize=4096)
def read_method(payload: bytes) -> Any:
    """The method in a frame; nobody may change it."""
    return pamqp.frame.unmarshal(_frame(METHOD, 0, payload))[2]


def method_frame(channel: int, method: Frame) -> bytes:
    """A method as a frame."""
    return pamqp.frame.marshal(method, channel)


def read_sizes(payload: bytes) -> tuple[int, bytes]:
    """Of a header frame: how large the body is, and the properties as they came."""
    return _SIZES.unpack_from(payload)[2], payload[_SIZES.size :]


def deliver_frame(channel: int, consumer: str, tag: int, exchange: str, key: bytes, *, again: bool = False) -> bytes:
    """`basic.deliver`, for the first time or `again`; the key need be no text."""
    texts = (_short(consumer.encode()), _TAG.pack(tag, again), _short(exchange.encode()), _short(key))
    return _frame(METHOD, channel, _DELIVER.pack(_BASIC, 60) + b"".join(texts))


def content_frames(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Header and body of a message."""
    step = frame_max - _HEAD.size - 1
    frames = [_frame(HEADER, channel, _SIZES.pack(_BASIC, 0, len(body)) + properties)]
    frames += [_frame(BODY, channel, body[start : start + step]) for start in range(0, len(body), step)]
    return b"".join(frames)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"".join((_HEAD.pack(kind, channel, len(payload)), payload, _END))


def _short(text: bytes) -> bytes:
    return bytes([len(text)]) + text

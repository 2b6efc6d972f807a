"""Messages as AMQP 0-9-1 frames, and back."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pamqp.encode
import pamqp.frame
from aiormq.abc import DeliveredMessage
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from choros.envelope import Wire

UNENCODABLE = (TypeError, ValueError, OverflowError, struct.error)
"""What encoding raises for a value that AMQP cannot carry."""
LARGEST_BODY = 16 * 1024 * 1024
"""Bytes; RabbitMQ 4 closes the channel above this, and with it everything else in flight there."""
LARGEST_HEADERS = 64 * 1024
"""Bytes, of the headers of a copy: all of them go into one frame, of 128 KiB as RabbitMQ is shipped."""
_FRAME_OVERHEAD = 8
_SHORT_STRING = 255
_ACK = struct.Struct(">BHIHHQBB")
_METHOD, _BASIC, _BASIC_ACK, _BASIC_NACK, _REQUEUE, _END = 1, 60, 80, 120, 2, 0xCE
_ARGUMENTS = 13


def ack_frame(channel: int, tag: int) -> bytes:
    """`basic.ack` of one delivery."""
    return _ACK.pack(_METHOD, channel, _ARGUMENTS, _BASIC, _BASIC_ACK, tag, 0, _END)


def requeue_frame(channel: int, tag: int) -> bytes:
    """`basic.nack` of one delivery, back into its queue."""
    return _ACK.pack(_METHOD, channel, _ARGUMENTS, _BASIC, _BASIC_NACK, tag, _REQUEUE, _END)


def publish_frames(channel: int, frame_max: int, exchange: str, key: str, wire: Wire, message_id: str) -> list[bytes]:
    """`basic.publish`, persistent and mandatory, with header and body; raises one of UNENCODABLE."""
    if len(wire.body) > LARGEST_BODY:
        raise ValueError(f"The body is larger than {LARGEST_BODY} bytes.")
    header = ContentHeader(properties=_properties(wire, message_id), body_size=len(wire.body))
    frames = [_publish_frame(channel, exchange, key), pamqp.frame.marshal(header, channel)]
    if len(frames[1]) > frame_max:
        raise ValueError("The headers do not fit into one frame.")
    step = frame_max - _FRAME_OVERHEAD
    parts = (wire.body[start : start + step] for start in range(0, len(wire.body), step))
    return frames + [pamqp.frame.marshal(ContentBody(part), channel) for part in parts]


def republishable(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the headers that can be sent again; of too many, the smallest. A message that could not be sent again
    could never be parked, and would hold its place for ever."""
    sizes = [(size, name) for name, value in headers.items() if (size := _encoded_size(name, value)) is not None]
    kept: dict[str, Any] = {}
    left = LARGEST_HEADERS
    for size, name in sorted(sizes):
        left -= size
        if left >= 0:
            kept[name] = headers[name]
    return kept


def received(message: DeliveredMessage) -> Wire:
    """A delivered message, nothing in it believed."""
    properties = message.header.properties
    timestamp = properties.timestamp
    return Wire(
        message.body,
        properties.headers or {},
        properties.content_type,
        properties.reply_to,
        properties.correlation_id,
        properties.message_type,
        properties.app_id,
        int(timestamp.timestamp()) if isinstance(timestamp, datetime) else None,
    )


def _properties(wire: Wire, message_id: str) -> commands.Basic.Properties:
    return commands.Basic.Properties(
        content_type=_short(wire.content_type),
        headers=dict(wire.headers),
        delivery_mode=2,
        correlation_id=_short(wire.correlation_id),
        reply_to=_short(wire.reply_to),
        message_id=message_id,
        message_type=_short(wire.type),
        app_id=_short(wire.app_id),
        timestamp=None if wire.timestamp is None else datetime.fromtimestamp(wire.timestamp, UTC),
    )


def _short(text: str | None) -> str | None:
    """A property, unless it is too long for one; all that matters is in the headers as well."""
    return text if text is None or len(text.encode()) <= _SHORT_STRING else None


@lru_cache(maxsize=1024)
def _publish_frame(channel: int, exchange: str, key: str) -> bytes:
    short_key = key.encode()[:_SHORT_STRING].decode(errors="ignore")
    publish = commands.Basic.Publish(exchange=exchange, routing_key=short_key, mandatory=True)
    return pamqp.frame.marshal(publish, channel)


def _encoded_size(name: str, value: Any) -> int | None:
    """None for what AMQP cannot carry."""
    try:
        return len(pamqp.encode.field_table({name: value}))
    except UNENCODABLE:
        return None

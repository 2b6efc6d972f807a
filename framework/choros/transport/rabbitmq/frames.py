"""Messages as AMQP 0-9-1 frames, and back."""

import base64
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import pamqp.encode
import pamqp.frame
from aiormq.abc import DeliveredMessage
from pamqp import commands
from pamqp.header import ContentHeader

from choros.transport.copies import LARGEST_BODY
from choros.transport.rabbitmq.envelopes import envelope_frame
from choros.transport.rabbitmq.properties import SEAL, read_properties
from choros.wire.envelope import UNREADABLE, Envelope, Wire

UNENCODABLE = (
    TypeError, ValueError, ArithmeticError, AttributeError, LookupError, OSError, RecursionError, struct.error,
)  # fmt: skip
"""What encoding raises for a value that AMQP cannot carry, or a time that no calendar has."""
LARGEST_UNREADABLE = 24 * 1024
"""Bytes of properties that are kept as they came."""
LARGEST_HEADERS = 64 * 1024
"""Bytes, of the headers of a copy: all of them go into one frame, of 128 KiB as RabbitMQ is shipped."""
_FRAME_OVERHEAD = 8
_SHORT_STRING = 255
_SETTLE = struct.Struct(">BHIHHQBB")
_HEAD = struct.Struct(">BHI").pack
_METHOD, _BODY, _BASIC, _ACK, _REJECT, _NACK, _END = 1, 3, 60, 80, 90, 120, 0xCE
_FRAME_END = bytes([_END])
_REQUEUE_REJECTED, _REQUEUE_NACKED, _UP_TO = 1, 2, 1
_ARGUMENTS = 13


def ack_frame(channel: int, tag: int) -> bytes:
    """`basic.ack` of one delivery."""
    return _settlement(channel, _ACK, tag, 0)


def requeue_frame(channel: int, tag: int) -> bytes:
    """`basic.reject` of one delivery, back into its queue: every RabbitMQ counts it toward the delivery limit."""
    return _settlement(channel, _REJECT, tag, _REQUEUE_REJECTED)


def untouched_frame(channel: int, tag: int) -> bytes:
    """`basic.nack` of one delivery, back into its queue: RabbitMQ 4.3 does not count it toward the delivery limit."""
    return _settlement(channel, _NACK, tag, _REQUEUE_NACKED)


def untouched_up_to_frame(channel: int, tag: int) -> bytes:
    """The same for all deliveries of a channel up to this one that are not settled."""
    return _settlement(channel, _NACK, tag, _REQUEUE_NACKED | _UP_TO)


def reject_frame(channel: int, tag: int) -> bytes:
    """`basic.reject` of one delivery, to where its queue dead-letters to."""
    return _settlement(channel, _REJECT, tag, 0)


def _settlement(channel: int, method: int, tag: int, flags: int) -> bytes:
    return _SETTLE.pack(_METHOD, channel, _ARGUMENTS, _BASIC, method, tag, flags, _END)


def publish_frames(
    channel: int, frame_max: int, exchange: str, key: str, message: Envelope | Wire, message_id: str
) -> list[bytes]:
    """`basic.publish`, persistent and mandatory, with header and body; raises one of UNENCODABLE."""
    if isinstance(message, Wire):
        body, header = message.body, header_frame(channel, message, message_id)
    else:
        body = message.data.encode()
        header = envelope_frame(channel, message, len(body), message_id)
    if len(body) > LARGEST_BODY:
        raise ValueError(f"The body is larger than {LARGEST_BODY} bytes.")
    if len(header) > frame_max:
        raise ValueError("The headers do not fit into one frame.")
    step = frame_max - _FRAME_OVERHEAD
    parts = [body[start : start + step] for start in range(0, len(body), step)]
    return [_publish_frame(channel, exchange, key), header, *(_body_frame(channel, part) for part in parts)]


def header_frame(channel: int, wire: Wire, message_id: str) -> bytes:
    """The content header of a persistent message, whatever stands in it; raises one of UNENCODABLE."""
    properties = commands.Basic.Properties(
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
    return pamqp.frame.marshal(ContentHeader(properties=properties, body_size=len(wire.body)), channel)


def _short(text: str | None) -> str | None:
    """A property, unless it is too long for one; all that matters is in the headers as well."""
    return text if text is None or len(text.encode()) <= _SHORT_STRING else None


def _body_frame(channel: int, part: bytes) -> bytes:
    return _HEAD(_BODY, channel, len(part)) + part + _FRAME_END


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


def unsealed(message: DeliveredMessage) -> Wire:
    """A message that was asked for, as our reader has sealed it."""
    return received(bytes(cast(bytearray, (message.header.properties.headers or {}).get(SEAL, b""))), message.body)


def received(properties: bytes, body: bytes) -> Wire:
    """A delivered message, nothing in it believed; raises nothing."""
    found, whole = read_properties(properties)
    headers = found.get("headers", {})
    if not whole:
        headers[UNREADABLE] = base64.b64encode(properties[:LARGEST_UNREADABLE]).decode()
    timestamp = found.get("timestamp")
    return Wire(
        body,
        headers,
        found.get("content_type"),
        found.get("reply_to"),
        found.get("correlation_id"),
        found.get("message_type"),
        found.get("app_id"),
        None if timestamp is None else int(timestamp.timestamp()),
    )


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

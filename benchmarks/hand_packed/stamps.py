"""Bytes that are sent again and again: all that changes from saga to saga is the saga's name, and an id of the message.

A stamp is cut up where the name stands, and joined by it again: one call of C for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

import pamqp.frame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from choros.wire.envelope import Wire

Stamp = Callable[[bytes], bytes]
"""The bytes for a saga."""
_ID = b"0" * 32
_numbers = map(b"%032x".__mod__, count())


def frames_of(wire: Wire, saga: str, channel: int, exchange: str, key: str) -> Stamp:
    """`basic.publish` with header and body, as the stock floor sends it: persistent, mandatory, an id of its own."""
    properties = commands.Basic.Properties(
        content_type=wire.content_type,
        headers=dict(wire.headers),
        delivery_mode=2,
        correlation_id=saga,
        reply_to=wire.reply_to,
        message_id=_ID.decode(),
        message_type=wire.type,
        app_id=wire.app_id,
        timestamp=datetime.fromtimestamp(wire.timestamp or 0, UTC),
    )
    parts = (
        commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True),
        ContentHeader(properties=properties, body_size=len(wire.body)),
        ContentBody(wire.body),
    )
    before, _, after = b"".join(pamqp.frame.marshal(part, channel) for part in parts).partition(_ID)
    name = saga.encode()
    head, tail = before.split(name), after.split(name)
    return lambda saga: saga.join(head) + next(_numbers) + saga.join(tail)


def entry_of(key: str, text: str, saga: str) -> Stamp:
    """A key of this saga, and what is kept under it, as two arguments of a Redis command."""
    parts = "".join(f"${len(part)}\r\n{part}\r\n" for part in (f"{key}:{saga}", text)).encode().split(saga.encode())
    return lambda saga: saga.join(parts)

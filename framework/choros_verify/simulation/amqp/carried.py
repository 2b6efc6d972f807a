"""A message as the simulated broker carries it, from the bytes that came and back into bytes."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pamqp import commands
from pamqp.header import ContentHeader

from choros.wire.envelope import Wire

_SIZES = 12
_PERSISTENT = 2


STRANGE: tuple[tuple[bytes, bytes], ...] = (
    (b"\x20\x00\x00\x00\x00\x03\x01aQ", b""),  # a header of a type that there is not
    (b"\x20\x00\x00\x00\x00\x09\x01\xffS\x00\x00\x00\x02\xc3(", b""),  # names and texts that are no UTF-8
    (b"\x20\x00\x00\x00\xff\xff", b""),  # a table longer than the frame
    (b"\x00\x40\xff\xff\xff\xff\xff\xff\xff\xff", b""),  # a time that no calendar has
    (b"\x00\x00", b"\xff\xfe\xc3("),  # a routing key that is no UTF-8
)
"""Properties and routing keys that pamqp cannot decode."""


@dataclass(frozen=True, slots=True)
class StrangeWire(Wire):
    """What a stranger wrote: properties and a routing key that nothing need be able to read."""

    properties: bytes = b""
    key: bytes = b""


def strange(kind: str, amount: float) -> StrangeWire:
    """What a stranger writes of this kind."""
    if kind == "undecodable":
        properties, key = STRANGE[int(amount)]
        return StrangeWire(b"{", {}, properties=properties, key=key)
    return StrangeWire(b"x" * int(amount * 1024), {}, properties=b"\x00\x00")


def read_wire(properties: bytes, body: bytes) -> Wire:
    """What was published; raises what pamqp does for properties that it cannot read."""
    header = ContentHeader()
    header.unmarshal(b"\0" * _SIZES + properties)
    found, at = header.properties, header.properties.timestamp
    return Wire(
        body, found.headers or {}, found.content_type, found.reply_to, found.correlation_id, found.message_type,
        found.app_id, None if at is None else int(at.timestamp()),
    )  # fmt: skip


def properties_of(wire: Wire, message_id: str | None = None) -> bytes:
    """The properties of a message as bytes, behind the sizes of its header frame."""
    if isinstance(wire, StrangeWire) and message_id is None:
        return wire.properties
    properties = commands.Basic.Properties(
        content_type=wire.content_type, headers=dict(wire.headers), delivery_mode=_PERSISTENT,
        correlation_id=wire.correlation_id, reply_to=wire.reply_to, message_id=message_id, message_type=wire.type,
        app_id=wire.app_id, timestamp=None if wire.timestamp is None else datetime.fromtimestamp(wire.timestamp, UTC),
    )  # fmt: skip
    return ContentHeader(properties=properties).marshal()[_SIZES:]

"""What producers publish who know nothing of choros, before anything in it is believed.

An event of theirs is a CloudEvent with whatever type name; a message may be any at all, of which its reader makes
what it can. Whatever is none raises MessageRejected, which never repeats what the message said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import from_json

from choros.errors import MessageRejected
from choros.wire.attributes import read_aside, read_text, read_time, read_traceparent
from choros.wire.envelope import Wire, read_event, text_of


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event, of which id, source and type are there."""

    id: str
    source: str
    type: str
    data: str
    """JSON text."""
    time: float | None = None
    """Seconds since the epoch; None where it does not say."""
    subject: str = ""
    correlation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True)
class ForeignMessage:
    """A message as it came."""

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    """As AMQP has them; nothing in them is believed."""
    content_type: str = ""
    type: str = ""
    """The property of this name, and so with the next; empty where there is none."""
    correlation_id: str = ""
    exchange: str = ""
    """The exchange that it was published to."""

    @staticmethod
    def of(wire: Wire, exchange: str) -> ForeignMessage:
        """As it was delivered."""
        properties = wire.content_type or "", wire.type or "", wire.correlation_id or ""
        return ForeignMessage(wire.body, wire.headers, *properties, exchange)

    @property
    def _wire(self) -> Wire:
        return Wire(self.body, self.headers, self.content_type)

    @cached_property
    def json(self) -> Any:
        """Its body, read as JSON whatever its content type says; raises MessageRejected."""
        text = text_of(self._wire)
        try:
            return from_json(text, allow_inf_nan=False)
        except ValueError:
            raise MessageRejected("The body is not JSON.") from None

    @property
    def event(self) -> CloudEvent:
        """The CloudEvent that it is, in binary or structured mode; raises MessageRejected."""
        attributes, data = read_event(self._wire)
        if attributes.get("specversion") not in ("1.0", b"1.0"):
            raise MessageRejected("The message is no CloudEvent of specversion 1.0.")
        return CloudEvent(
            _needed(attributes, "id"),
            _needed(attributes, "source"),
            _needed(attributes, "type"),
            data,
            _time(attributes.get("time")),
            read_aside(attributes.get("subject")),
            read_aside(attributes.get("correlationid")),
            read_traceparent(attributes.get("traceparent")),
        )


def _needed(attributes: Mapping[str, Any], name: str) -> str:
    if (value := attributes.get(name)) is None:
        raise MessageRejected(f"The message lacks {name}.")
    try:
        return read_text(value)
    except ValueError:
        raise MessageRejected(f"The attribute {name} has no acceptable value.") from None


def _time(value: Any) -> float | None:
    try:
        return None if value is None else read_time(value)
    except (ValueError, OverflowError):
        raise MessageRejected("The attribute time has no acceptable value.") from None

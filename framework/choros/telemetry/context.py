"""What a message is logged as."""

import re
from functools import partial
from typing import Any

from choros.telemetry.logs import speaking
from choros.wire.envelope import Envelope

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def speaking_of(envelope: Envelope) -> speaking:
    """While the block runs, everything logged in this task carries the ids of this message."""
    return speaking(partial(about, envelope))


def about(envelope: Envelope) -> dict[str, Any]:
    """The ids of a message as they are logged; what it lacks is left out."""
    found = {
        "saga_id": envelope.correlation_id if envelope.saga else "",
        "saga": envelope.saga,
        "step": envelope.step,
        "attempt": envelope.attempt,
        "message_id": envelope.id,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
    }
    if trace := _TRACEPARENT.fullmatch(envelope.traceparent):
        found |= zip(("trace_id", "span_id", "trace_flags"), trace.groups(), strict=True)
    return {key: value for key, value in found.items() if value}

"""The copies a receiver makes of a delivery: one for the ladder of delays, one for the dead letters; and the one that a
person puts back.

A copy is a new publish, so whatever the broker itself would act on or writes by itself is left out of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from choros.sources import now
from choros.transport.topology import RETRY_LADDER
from choros.wire.attributes import rfc3339
from choros.wire.envelope import MAX_BODY, Wire

RETRIES = "x-choros-retries"
"""Counts how often a message has been through the ladder, tried."""
WAITS = "x-choros-waits"
"""How often it was put off for somebody else to handle."""
RETURNS = "x-delivery-count"
"""How often the broker has had it back, as it says itself."""
REASON = "x-choros-reason"
FAILED_AT = "x-choros-failed-at"
ORIGINAL_QUEUE = "x-choros-original-queue"
CAME_THROUGH = "x-choros-exchange"
REDRIVEN = "x-choros-redriven"
"""How often a person has put it back."""
GIVE_UP = "x-choros-give-up"
"""That a person who has put a fact back wants its reaction to give up; 1, or it is not there."""
BODY_SIZE = "x-choros-body-size"
BODY_SHA256 = "x-choros-body-sha256"
LARGEST_BODY = 16 * 1024 * 1024
"""Bytes; RabbitMQ 4 closes the channel above this, and with it everything else in flight there."""

_MOST_RETRIES = 1_000_000
"""A header that says more makes no sense."""
# CC and BCC would route the copy to further queues; an order is given once; the others are the broker's own notes.
_NOT_COPIED = frozenset({"CC", "BCC", "x-death", RETURNS, "x-acquired-count", "x-stream-offset", GIVE_UP})
_OF_THE_PARKING = frozenset({REASON, FAILED_AT, ORIGINAL_QUEUE, CAME_THROUGH, RETRIES, WAITS})
_NOT_COPIED_PREFIXES = ("x-first-death-", "x-last-death-", "x-opt-")


def rung(after: float) -> int:
    """The step of the ladder for a delay: the smallest that is long enough, else the longest."""
    return next((seconds for seconds in RETRY_LADDER if seconds >= after), RETRY_LADDER[-1])


def count_of(headers: Mapping[str, Any], name: str) -> int:
    """What this header counts; 0 for one that makes no sense."""
    count = headers.get(name, 0)
    sane = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MOST_RETRIES
    return count if sane else 0


def retry_copy(wire: Wire, *, tried: bool = True) -> Wire:
    """The message as it goes into the ladder."""
    counter = RETRIES if tried else WAITS
    return replace(wire, headers={**copied(wire.headers), counter: count_of(wire.headers, counter) + 1})


def dead_copy(wire: Wire, reason: str, queue: str, exchange: str) -> Wire:
    """The message as it is parked for a person. Through which exchange it came says who spoke, should it go back."""
    notes = {REASON: reason[:500], FAILED_AT: rfc3339(now()), ORIGINAL_QUEUE: queue, CAME_THROUGH: exchange}
    return replace(wire, headers={**copied(wire.headers), **notes})


def redriven_copy(wire: Wire, *, gives_up: bool = False) -> Wire:
    """The message as it goes back to where it was parked from: as if it had never failed, but for a count; or with the
    order to give up."""
    headers = {name: value for name, value in copied(wire.headers).items() if name not in _OF_THE_PARKING}
    ordered = {GIVE_UP: 1} if gives_up else {}
    return replace(wire, headers={**headers, **ordered, REDRIVEN: count_of(wire.headers, REDRIVEN) + 1})


def shortened(wire: Wire) -> Wire:
    """The beginning of a message that is too large to be sent again, with the size and the digest of the whole."""
    notes = {BODY_SIZE: len(wire.body), BODY_SHA256: sha256(wire.body).hexdigest()}
    return replace(wire, body=wire.body[:MAX_BODY], headers={**wire.headers, **notes})


def copied(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the headers that are the sender's or ours."""
    # A name that is no string cannot come over AMQP, but from an adapter that believes its caller.
    return {
        name: value
        for name, value in headers.items()
        if name not in _NOT_COPIED and not str(name).startswith(_NOT_COPIED_PREFIXES)
    }

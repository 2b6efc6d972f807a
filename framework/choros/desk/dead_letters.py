"""Dead letters: what lies parked for a person, as values, and by which way each goes back. Pure.

Nothing in them is believed: strangers may have written them, so each part is read for itself, and what cannot be
decoded is a dead letter like any other."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from choros.errors import ChorosError, MessageRejected
from choros.runtime.host.off_the_wire import is_fanned_out, read_envelope
from choros.transport import copies
from choros.transport.topology import DELIVERY_LIMIT, Names
from choros.wire.attributes import LAST_MOMENT
from choros.wire.envelope import Envelope, MessageKind, Wire

_ID_DIGITS = 12
_LONGEST = 512
"""As long as an attribute may be: a source that is cut would name another speaker."""
_FORGED = "It came through "
"""How the reason begins for what was parked since it came by another's way. Whoever parked it has written that; whether
he has written the exchange, too, or left a stranger's header, only a newer choros tells."""
_BROKERS_REASONS = {
    "delivery_limit": f"The broker gave it up: {DELIVERY_LIMIT} deliveries, and none was acknowledged.",
    "rejected": "It is too large for a copy; its receiver's log says why.",
}


class StaysParked(ChorosError):
    """A dead letter that must not, or cannot, go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One parked message, without its body."""

    id: str
    """Made of all that it says, so that it is the same whenever it is looked at."""
    queue: str
    """The queue that it was taken from."""
    kind: MessageKind
    """What waits in that queue."""
    reason: str
    parked_at: float | None
    """Seconds since the epoch, if anybody noted it."""
    exchange: str | None
    """The one that it came through; None where nobody noted it, as before there was a header for that."""
    type: str
    message_id: str
    source: str
    subject: str
    saga: str
    saga_id: str
    step: str
    key: str
    attempt: int
    stream: str
    seq: int
    size: int
    """Bytes of its body."""
    whole: bool
    """Whether that is all there was."""
    redriven: int
    """How often it was put back before."""
    unreadable: str
    """Why no receiver can read it; empty where it can be read."""

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def dead_letter(wire: Wire, dead: str, names: Names) -> DeadLetter:
    """What is known of a message in this queue of dead letters."""
    queue, death = _original(wire, dead, names), _death(wire.headers)
    envelope, unreadable = _read(wire)
    said = _Attributes(wire, envelope)
    return DeadLetter(
        id=_identity(dead, wire),
        queue=queue,
        kind=names.kind_of(queue),
        reason=_reason(wire.headers, death),
        parked_at=_parked_at(wire.headers, death),
        exchange=_exchange(wire.headers, death),
        type=said.text("type", "type") or _line(wire.type),
        message_id=said.text("id", "id"),
        source=said.text("source", "source"),
        subject=said.text("subject", "subject"),
        saga=said.text("saga", "saganame"),
        saga_id=said.text("correlation_id", "correlationid") or _line(wire.correlation_id),
        step=said.text("step", "sagastep"),
        key=said.text("key", "idempotencykey"),
        attempt=said.number("attempt", "sagaattempt"),
        stream=said.text("stream", "factstream"),
        seq=said.number("seq", "factseq"),
        size=_size(wire),
        whole=copies.BODY_SIZE not in wire.headers,
        redriven=copies.count_of(wire.headers, copies.REDRIVEN),
        unreadable=unreadable,
    )


def way_back(letter: DeadLetter, names: Names) -> tuple[str, str]:
    """Exchange and routing key by which it reaches the one queue that it was parked from, and its receiver can judge
    who spoke as well as it could at first; raises StaysParked where there is no such way."""
    if not letter.whole:
        raise StaysParked("Only the beginning of it was kept: it was too large for a copy.")
    if letter.size > copies.LARGEST_BODY:
        raise StaysParked(f"It has more than {copies.LARGEST_BODY} bytes, which no broker takes again.")
    if letter.kind == "command":
        return names.commands, letter.queue.removeprefix(f"{names.namespace}.")
    if letter.reason.startswith(_FORGED):
        raise _forged(letter)
    if letter.kind == "fact":
        return _way_of_fact(letter, names)
    if letter.kind == "signal":
        return _way_of_signal(letter, names)
    return _way_of_reply(letter, names)


def _way_of_fact(letter: DeadLetter, names: Names) -> tuple[str, str]:
    """To this subscriber alone. What comes that way is believed, so nothing may that came by another's."""
    try:
        is_fanned_out(letter.exchange or names.facts, letter.source, names)
    except MessageRejected:
        raise _forged(letter) from None
    return names.retry, letter.queue


def _way_of_signal(letter: DeadLetter, names: Names) -> tuple[str, str]:
    """The way of the service that it names; whether that may say so, its receiver judges."""
    own = names.way_of("signal", letter.source)
    if letter.exchange != own:
        raise _forged(letter)
    return own, letter.queue


def _way_of_reply(letter: DeadLetter, names: Names) -> tuple[str, str]:
    """The way of the service that it names: whether that one was commanded, its receiver judges."""
    if letter.exchange in ("", names.replies) or (letter.exchange is None and not letter.source):
        return names.replies, letter.queue
    own = names.way_of("reply", letter.source)
    if letter.exchange not in (None, own) or not names.is_way_of_replies(own):
        raise _forged(letter)
    return own, letter.queue


def _forged(letter: DeadLetter) -> StaysParked:
    way = letter.exchange or "another's exchange"
    return StaysParked(f"It came through {way}, which is not the way of whom it names: put back, it would be believed.")


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(wire: Wire) -> tuple[Envelope | None, str]:
    try:
        return read_envelope(wire), ""
    except MessageRejected as rejected:
        return None, rejected.sentence


class _Attributes:
    """What a message says of itself: read, or else as its headers have it."""

    def __init__(self, wire: Wire, envelope: Envelope | None) -> None:
        self._headers, self._envelope = wire.headers, envelope

    def text(self, field: str, attribute: str) -> str:
        """One attribute, on one line."""
        return _line(getattr(self._envelope, field) if self._envelope else self._header(attribute))

    def number(self, field: str, attribute: str) -> int:
        """One attribute; 0 where it is no number."""
        found = self.text(field, attribute)
        return int(found) if found.isascii() and found.isdecimal() and len(found) < 20 else 0

    def _header(self, attribute: str) -> Any:
        written = (self._headers.get(f"{prefix}{attribute}") for prefix in ("cloudEvents_", "cloudEvents:", "ce-"))
        return next(filter(None, written), None)


def _line(value: object) -> str:
    """A text, of which nothing speaks to a terminal."""
    if isinstance(value, (bytes, bytearray)):
        value = value.decode(errors="replace")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return "".join(one if one.isprintable() else " " for one in str(value)[:_LONGEST])


def _identity(dead: str, wire: Wire) -> str:
    """A broker counts in the headers how often it has shown a message, and notes of its own are left out."""
    digest = hashlib.sha256(repr((dead, wire.reply_to, wire.type, wire.correlation_id)).encode(errors="replace"))
    for name, value in sorted((str(name), repr(value)) for name, value in copies.copied(wire.headers).items()):
        digest.update(f"{name}={value}\n".encode(errors="replace"))
    digest.update(wire.body)
    return digest.hexdigest()[:_ID_DIGITS]


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the broker notes of a message that it has parked by itself; ours it takes for new ones."""
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else {}
    return first if isinstance(first, dict) else {}


def _original(wire: Wire, dead: str, names: Names) -> str:
    """The reply queues of all stores have one queue for their dead letters; of the others it is known."""
    queue = names.working_queue(dead)
    said = _death(wire.headers).get("queue") or wire.headers.get(copies.ORIGINAL_QUEUE)
    store = said.removeprefix(f"{queue}.") if isinstance(said, str) and said.startswith(f"{queue}.") else "."
    stores = "." not in store and store.isprintable()
    return str(said) if stores and names.kind_of(queue) == "reply" else queue


def _reason(headers: Mapping[str, Any], death: Mapping[str, Any]) -> str:
    brokers = death.get("reason") or headers.get("x-first-death-reason")
    if brokers and (death or copies.REASON not in headers):
        return _BROKERS_REASONS.get(str(brokers), f"The broker parked it: {_line(brokers)}.")
    return _line(headers.get(copies.REASON))


def _parked_at(headers: Mapping[str, Any], death: Mapping[str, Any]) -> float | None:
    noted = death.get("time") or headers.get(copies.FAILED_AT)
    try:
        moment = noted if isinstance(noted, datetime) else datetime.fromisoformat(str(noted))
        seconds = moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return seconds if 0 <= seconds <= LAST_MOMENT else None


def _exchange(headers: Mapping[str, Any], death: Mapping[str, Any]) -> str | None:
    """What the broker notes goes first: it leaves our headers as a stranger may have written them."""
    noted = death.get("exchange") if death else headers.get(copies.CAME_THROUGH)
    return _line(noted) if isinstance(noted, str) else None


def _size(wire: Wire) -> int:
    size = wire.headers.get(copies.BODY_SIZE)
    return size if isinstance(size, int) and size > len(wire.body) else len(wire.body)

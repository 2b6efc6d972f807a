"""Facts of producers that know nothing of choros: where they publish, and what their messages are to us."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from choros.errors import DeclarationError, MessageRejected, MessageUnwritable
from choros.messages import Fact
from choros.names import RESERVED_NAMES, is_name
from choros.saga.checks import is_a, is_function, listed, shown
from choros.sources import derived_id
from choros.transport.foreign import KINDS, ForeignExchange
from choros.wire.attributes import read_text
from choros.wire.envelope import Envelope, is_sendable
from choros.wire.foreign import CloudEvent, ForeignMessage


@dataclass(frozen=True, slots=True)
class ForeignFact:
    """What a message of theirs is to us. Two of one `source` and `id` are the same fact, handled once."""

    fact: Fact
    id: str
    source: str
    """Who says it, as they call themselves."""
    time: datetime | None = None
    """When it happened; None for when it came."""
    subject: str = ""
    correlation_id: str = ""
    traceparent: str = ""


ReadForeign = Callable[[ForeignMessage], ForeignFact | None]


class ForeignFacts:
    """Facts from an exchange of theirs: `ForeignFacts("billing", exchange="billing.events", events={"com.example.paid":
    InvoicePaid})`. Raises DeclarationError.

    `events` says which types of CloudEvents are which facts; their identity is `source` and `id`. For messages that are
    none, `read` makes a `ForeignFact` of one, or None where it is nothing to us; then `facts` names the types. It is a
    pure function: it may be asked again for the same message, and has to give it the same id.

    A queue of ours is bound to `exchange`, under each of `keys`; the exchange is theirs, and only created if `create`
    says of which kind. They need not know of it. `name` is the publisher that these facts have on our side."""

    def __init__(
        self,
        name: str,
        *,
        exchange: str,
        keys: Iterable[str] = ("#",),
        events: Mapping[str, type[Fact]] | None = None,
        facts: Iterable[type[Fact]] = (),
        read: ReadForeign | None = None,
        create: str = "",
    ) -> None:
        self.name = name
        where = f"foreign facts {shown(name)}"
        if not is_name(name) or name in RESERVED_NAMES:
            raise DeclarationError(f"{where}: that is no name.", "use lower-case words joined by '-' or '_'.")
        if not exchange or create not in ("", *KINDS):
            raise DeclarationError(
                f"{where}: exchange={exchange!r}, create={create!r}.", f"theirs by its name; to create it: {KINDS}."
            )
        self.exchange: ForeignExchange = ForeignExchange(name, exchange, listed(f"{where}: keys", keys), create)
        """Where they publish, and by what it is bound."""
        self._events = dict(events or {})
        self._read = read
        self.facts: tuple[type[Fact], ...] = (*self._events.values(), *listed(f"{where}: facts", facts))
        """What becomes of their messages."""
        _check_read(where, self._events, read, self.facts)

    def __repr__(self) -> str:
        return f"ForeignFacts({self.name!r})"

    def fact(self, message: ForeignMessage) -> ForeignFact | None:
        """What a message is to us; None where it is nothing. Raises MessageRejected."""
        if self._read is None:
            return self._of_event(message.event)
        made = _asked(self._read, message)
        if made is not None and not _is_one_of(made, self.facts):
            name = _named(self._read)
            raise MessageRejected(f"{name} made of it what is no ForeignFact with one of the declared facts.")
        return made

    def envelope(self, message: ForeignMessage, namespace: str, now: float) -> Envelope | None:
        """The same as it is published here."""
        found = self.fact(message)
        if found is None:
            return None
        source, identity = _text("source", found.source), _text("id", found.id)
        said_at = found.time
        if said_at is not None and said_at.tzinfo is None:
            raise MessageRejected("The time of it has no zone.")
        fact = derived_id("choros.foreign", namespace, self.name, source, identity)
        envelope = Envelope(
            id=fact, kind="fact", type=found.fact.type_name, source=f"/{namespace}/foreign/{self.name}",
            time=said_at.timestamp() if said_at else now, data=_written(found.fact), subject=found.subject,
            correlation_id=found.correlation_id, causation_id=identity, stream=fact, seq=1,
            traceparent=found.traceparent,
        )  # fmt: skip
        if not is_sendable(envelope):
            raise MessageRejected("What was made of the message cannot be published: a time, or a text, that is none.")
        return envelope

    def _of_event(self, event: CloudEvent) -> ForeignFact | None:
        kind = self._events.get(event.type)
        if kind is None:
            return None
        moment = None if event.time is None else datetime.fromtimestamp(event.time, UTC)
        fact = kind.from_json(event.data)
        said = event.subject, event.correlation_id, event.traceparent
        return ForeignFact(fact, event.id, event.source, moment, *said)


def _asked(read: ReadForeign, message: ForeignMessage) -> ForeignFact | None:
    """What a user's function makes of it; its mistakes may hold what the message said, so they are not repeated."""
    try:
        return read(message)
    except MessageRejected:
        raise
    except Exception as error:
        raise MessageRejected(f"{_named(read)} could not read it ({type(error).__name__}).") from None


def _is_one_of(made: object, facts: tuple[type[Fact], ...]) -> bool:
    return isinstance(made, ForeignFact) and type(made.fact) in facts


def _named(read: ReadForeign) -> str:
    return getattr(read, "__name__", "read")


def _text(what: str, value: object) -> str:
    try:
        return read_text(value)
    except ValueError:
        raise MessageRejected(f"The {what} of it is no text of 1 to 512 characters.") from None


def _written(fact: Fact) -> str:
    try:
        return fact.to_json()
    except MessageUnwritable as error:
        raise MessageRejected(error.sentence) from None


def _check_read(
    where: str, events: Mapping[str, type[Fact]], read: ReadForeign | None, facts: tuple[type[Fact], ...]
) -> None:
    for one in facts:
        if not is_a(one, Fact):
            raise DeclarationError(f"{where}: {shown(one)} is no Fact.", "derive it from choros.Fact.")
    if bool(events) is (read is not None) or not facts or (read is not None and not is_function(read)):
        raise DeclarationError(
            f"{where}: say either which events are which facts, or how to read them.",
            'events={"com.example.paid": InvoicePaid}, or facts=(InvoicePaid,), read=a_function.',
        )

"""A start as work for the decider: the saga's id from its start key, and the message as it is stored and compared."""

import hashlib
from dataclasses import dataclass
from typing import Any

from choros.errors import UsageError
from choros.messages import Message
from choros.names import BusinessKey, key_text
from choros.runtime.orchestrator.work import Start, Work
from choros.saga.saga import Saga, Sagas
from choros.sources import fresh_id, saga_id_for
from choros.wire.attributes import trace_context
from choros.wire.canonical import canonical
from choros.wire.envelope import why_unreadable


@dataclass(frozen=True, slots=True)
class Startable:
    """What may be started in one application."""

    scope: str
    """That of the application."""
    sagas: Sagas
    own_headers: str = ""
    """What is started has these headers."""

    def work(
        self, saga: Saga[Any], message: Message, key: BusinessKey | None, traceparent: str = "", tracestate: str = ""
    ) -> Work:
        """What starts this saga; raises UsageError where the message or the key does not do."""
        key = self._key(saga, message, key)
        if saga.lock:
            saga.lock.keys_of(message)
        body = sendable(message)
        said = canonical(message, body)
        digest = hashlib.sha256(said.encode()).hexdigest()
        trace = trace_context(traceparent, tracestate)
        start = Start(
            fresh_id(), saga.name, saga.version, key, body, digest, *trace, said=said, own_headers=self.own_headers
        )
        return Work(self.id_of(saga.name, key), start)

    def id_of(self, saga: str, key: str) -> str:
        """The id of the one instance that this key stands for."""
        return saga_id_for(f"{self.scope}.{saga}", key)

    def _key(self, saga: Saga[Any], message: Message, key: BusinessKey | None) -> str:
        if self.sagas.get((saga.name, saga.version)) is not saga:
            raise UsageError(f"saga {saga.name!r} is not part of this application.", "name it in App(sagas=...).")
        if type(message) is not saga.start:
            raise UsageError(f"saga {saga.name!r} starts with {saga.start.__name__}, not {type(message).__name__}.")
        found = key_text(key if key is not None else _declared_key(saga, message))
        if not (isinstance(found, str) and 0 < len(found) <= 200 and found.isprintable()):
            given = "" if isinstance(found, str) else f", and is given {_kind(found)}"
            hint = "declare Saga(..., key=...) or pass key=."
            raise UsageError(f"saga {saga.name!r} needs a start key of 1 to 200 printable characters{given}.", hint)
        return found


def _declared_key(saga: Saga[Any], message: Message) -> BusinessKey:
    try:
        return saga.key(message) if saga.key else ""
    except Exception as error:
        sentence = f"The key of saga {saga.name!r} failed: {type(error).__name__}."
        raise UsageError(sentence, "a function that has an answer for every message that starts it.") from error


def _kind(key: object) -> str:
    return "None" if key is None else f"a {type(key).__name__}"


def sendable(message: Message) -> str:
    """Its body as JSON; raises UsageError where it is too large or too deep for the wire."""
    body = message.to_json()
    if why := why_unreadable(body):
        raise UsageError(f"The {message.type_name} {why}.", "keep the bulk elsewhere, and send its id.")
    return body

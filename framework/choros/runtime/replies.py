"""Replies off the wire: what may become an input of the machine, and what is parked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from choros.envelope import Envelope
from choros.errors import MessageRejected
from choros.keys import CommandKey
from choros.messages import Closed, Failure, NothingToUndo, Reply
from choros.saga.declaration import Saga
from choros.saga.inputs import Answered
from choros.saga.plan import Planned
from choros.saga.steps import Publish

Sagas = Mapping[tuple[str, int], Saga[Any]]
"""Declarations by name and version."""


def read_reply(sagas: Sagas, envelope: Envelope) -> Answered | None:
    """The input that this reply stands for; None if this worker does not know the saga's version.

    Raises MessageRejected where no command of the saga can have asked for it."""
    if envelope.kind != "reply":
        raise MessageRejected(f"A {envelope.kind} came to a reply queue.")
    key = CommandKey.parse(envelope.key)
    # Whose effect an undo reaches, the machine knows: it takes only the keys that it sends.
    if key.saga_id != envelope.correlation_id and key.operation == "do":
        raise MessageRejected("The correlation id is not the one of the idempotency key.")
    saga = sagas.get((envelope.saga, envelope.saga_version))
    if saga is None:
        return None
    return _answer(envelope, key, _asked(saga, key))


def _asked(saga: Saga[Any], key: CommandKey) -> Planned:
    planned = saga.plan.find(key.path)
    if planned is None or isinstance(planned.node, Publish):
        raise MessageRejected("The idempotency key names no commanded step of this saga.")
    if key.operation == "undo" and planned.compensation is None:
        raise MessageRejected("The idempotency key names the undo of a step that has none.")
    return planned


def _answer(envelope: Envelope, key: CommandKey, planned: Planned) -> Answered:
    outcome = envelope.outcome or "ok"
    if outcome != "ok":
        failure = Failure.from_json(envelope.data)
        return Answered(envelope.id, key, envelope.attempt, outcome, envelope.data, failure.code)
    expected = _expected(planned, key)
    for reply in expected:
        if envelope.type == reply.type_name:
            reply.from_json(envelope.data)
            return Answered(envelope.id, key, envelope.attempt, outcome, envelope.data)
    raise MessageRejected(f"The reply is not of type {' or '.join(reply.type_name for reply in expected)}.")


def _expected(planned: Planned, key: CommandKey) -> tuple[type[Reply], ...]:
    if key.operation == "close":
        return (Closed,)
    if key.operation == "undo" and planned.compensation:
        return (planned.compensation.reply_type, NothingToUndo)
    return (planned.command.reply_type,)

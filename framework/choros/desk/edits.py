"""Editing dead letters: only the body changes, and only to one that its receiver takes. Pure.

All that a receiver knows a message by stays: the key of a command, the id of a reply, source, stream and number of a
fact. So the edited one and the one that it was edited from are the same to it: it handles one of them, whichever comes
first, and knows the other again."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

from choros.app.app import App
from choros.desk.dead_letters import DeadLetter, way_back
from choros.errors import MessageRejected, UsageError
from choros.messages import Close, Message
from choros.runtime.host.admission import Received, check_command
from choros.runtime.host.off_the_wire import read_envelope
from choros.runtime.orchestrator.replies import judge, read_reply
from choros.runtime.participant.operations import check_operation
from choros.transport.copies import BODY_SHA256, BODY_SIZE
from choros.transport.topology import Names
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope, Wire


def is_structured(wire: Wire) -> bool:
    """Whether the body is a whole CloudEvent, of which only the data is edited."""
    return (wire.content_type or "").lower().startswith("application/cloudevents")


def body_of(wire: Wire) -> bytes:
    """What is edited; raises UsageError where that cannot be told from the rest."""
    if not is_structured(wire):
        return wire.body
    try:
        return read_envelope(wire).data.encode()
    except MessageRejected as rejected:
        raise UsageError(f"It cannot be edited: {rejected.sentence}", "choros dead drop.") from None


def with_body(wire: Wire, body: bytes) -> Wire:
    """The same message with another body, which is all of it. Raises MessageRejected where the body is none, and would
    say something of the rest of a whole CloudEvent."""
    if is_structured(wire):
        _check_json(body)
        event, mark = json.loads(wire.body), "\N{NULL}"
        body = json.dumps(event | {"data": mark}).encode().replace(json.dumps(mark).encode(), body)
    kept = {name: value for name, value in wire.headers.items() if name not in (BODY_SIZE, BODY_SHA256)}
    return replace(wire, body=body, headers=kept)


def _check_json(body: bytes) -> None:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        raise MessageRejected("The body is not JSON.") from None


def edited_letter(letter: DeadLetter, wire: Wire) -> DeadLetter:
    """What is known of it now."""
    return replace(letter, size=len(wire.body), whole=True)


def check_taken(app: App, letter: DeadLetter, wire: Wire, before: bytes) -> None:
    """Raises MessageRejected where the receiver would park it again, StaysParked where it may not go back, and
    UsageError where this application cannot tell, or the receiver would read nothing else than `before`."""
    names = Names(app.namespace)
    exchange, key = way_back(edited_letter(letter, wire), names)
    envelope = read_envelope(wire)
    if envelope.kind != letter.kind:
        raise MessageRejected(f"A {envelope.kind} came to the queue {letter.queue}.")
    if letter.kind == "command":
        _check_command(app, key, envelope, names)
    elif letter.kind == "reply":
        _check_reply(app, read_reply(envelope, exchange, names, app.name))
    else:
        _check_fact(_class_of(app, letter.queue.removeprefix(names.subscriber_queue("")), envelope), envelope, before)


def _check_command(app: App, service: str, envelope: Envelope, names: Names) -> None:
    wanted: Any = Close if envelope.type == Close.type_name else _class_of(app, service, envelope)
    received = Received(envelope, CommandKey.parse(envelope.key), wanted.from_json(envelope.data), None)
    check_command(received, names)
    check_operation(envelope, received.key, app.sagas)


def _check_reply(app: App, envelope: Envelope) -> None:
    saga = app.sagas.get((envelope.saga, envelope.saga_version))
    if saga is None:
        raise UsageError(
            f"This application does not have saga {envelope.saga!r} in version {envelope.saga_version}.",
            "the application that does: only it can tell what a reply must say.",
        )
    judge(saga, [envelope.saga_version], envelope)


def _check_fact(kind: type[Message], envelope: Envelope, before: bytes) -> None:
    """What is no field of it is passed over, so a mistyped name would change nothing."""
    told = kind.from_json(envelope.data)
    with suppress(MessageRejected):
        if kind.from_json(before) == told:
            raise UsageError(
                f"{envelope.type} reads as it did before.", f"one of its fields: {', '.join(kind.model_fields)}."
            )


def _class_of(app: App, name: str, envelope: Envelope) -> type[Message]:
    service = app.service(name)
    known = {kind.type_name: kind for kind in (*service.commands, *service.facts)}
    if envelope.type not in known:
        raise MessageRejected(f"The service {name} has no handler for {envelope.type}.")
    return known[envelope.type]

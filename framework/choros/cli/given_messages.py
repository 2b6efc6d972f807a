"""Start messages and replies that a user gives on the command line, where those that are made up will not do."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from choros.cli.words import fields_of
from choros.errors import MessageRejected, UsageError, unknown
from choros.messages import Message
from choros.saga.saga import Saga


def given_start(saga: Saga[Any], text: str) -> Message:
    """The start message of this saga; raises UsageError."""
    try:
        message: Message = saga.start.from_json(text)
        return message
    except MessageRejected as error:
        raise UsageError(f"--start: {error.sentence}", fields_of(saga.start)) from None


def given_starts(sagas: Sequence[Saga[Any]], texts: Iterable[str]) -> dict[str, Message]:
    """From JSON (of the only saga), or SAGA=JSON, the start messages by the saga's name; raises UsageError."""
    by_name = {saga.name: saga for saga in sagas}
    found: dict[str, Message] = {}
    for text in texts:
        name, body = ("", text) if text.lstrip().startswith("{") else text.partition("=")[::2]
        saga = by_name.get(name) if name else sagas[0] if len(sagas) == 1 else None
        if saga is None:
            raise UsageError(f"--start {text!r} is for no saga.", f"SAGA=JSON, with one of: {', '.join(by_name)}.")
        found[saga.name] = given_start(saga, body)
    return found


def given_replies(sagas: Iterable[Saga[Any]], texts: Iterable[str]) -> dict[str, Message]:
    """From TYPE=JSON, the replies and signals by type name; raises UsageError."""
    known = {kind.type_name: kind for saga in sagas for kind in _answers(saga)}
    found: dict[str, Message] = {}
    for text in texts:
        name, _, body = text.partition("=")
        if not name or not body.strip().startswith("{"):
            raise UsageError(f"--reply {text!r} is not TYPE=JSON.", """--reply 'seat-booked.v1={"seat": "1A"}'.""")
        if name not in known:
            raise UsageError(*unknown(f"No step is answered with {name!r}.", name, sorted(known)))
        try:
            found[name] = known[name].from_json(body)
        except MessageRejected as error:
            raise UsageError(f"--reply {name}: {error.sentence}", fields_of(known[name])) from None
    return found


def _answers(saga: Saga[Any]) -> Iterator[type[Message]]:
    """The types of what it is answered with, and of what it waits to be told."""
    yield from saga.outline.answers
    yield from (kind for leaf in saga.outline.leaves.values() for kind in leaf.signals)

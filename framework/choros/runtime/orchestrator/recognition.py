"""Whether this worker may decide a record: only with the declaration that the instance was begun with.

All that is compared is in the loaded record, so the answer holds for the commit that is decided on it: no rolling
deploy of two declarations ever decides one instance in turns. Who does not recognise a record counts as one that does
not know its version: it sets replies aside for who does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, cast

from pydantic import ValidationError

from choros.errors import DeclaredOtherwise, MessageRejected
from choros.messages import Command, Fact, Failure, Message
from choros.runtime.orchestrator.recent import MOST_CHARACTERS, Recent
from choros.runtime.orchestrator.states import with_entries
from choros.saga.machine.instance import UNTOUCHED, Instance, Status
from choros.saga.outline import Outline
from choros.saga.saga import Saga, Sagas
from choros.store.sagas import Record

NOTHING: Mapping[str, str] = MappingProxyType({})


def recognise(
    sagas: Sagas, record: Record, familiar: Familiar | None = None, entries: Mapping[str, str] = NOTHING
) -> tuple[Saga[Any], Instance]:
    """The declaration and the state of the instance in this record; raises DeclaredOtherwise, which says why not.

    What is `familiar` need not be read again; `entries` are those that came with the record."""
    saga = sagas.get((record.saga, record.saga_version))
    if saga is None:
        raise DeclaredOtherwise(
            f"This process does not know saga {record.saga!r} version {record.saga_version}.",
            "ask an orchestrator that runs that version.",
        )
    if record.fingerprint not in ("", saga.fingerprint.hash):
        raise _otherwise(record)
    if familiar and (known := familiar.read(record)):
        return saga, with_entries(known, entries)
    instance = instance_of(record, entries)
    paths = list(saga.outline.leaves)
    if len(instance.steps) not in (0, len(paths)):  # an old record, which has no fingerprint yet
        raise _otherwise(record)
    instance = instance.named(paths)
    for message, body in _bodies(saga.outline, instance):
        _check_body(message, body)
    return saga, instance


class Familiar:
    """States that this process has read or written: most records come back to whoever has decided them before, and the
    more steps are over, the more there is to read in one."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._recent: Recent[Instance] = Recent(most)

    def read(self, record: Record) -> Instance | None:
        """The state of this very text, if its bodies were read as its declaration reads them here."""
        return self._recent.get((record.saga, record.saga_version, record.state))

    def keep(self, saga: Saga[Any], state: str, instance: Instance, before: str = "") -> None:
        """This is what the text says, which takes the place of the one before; of a saga that is over nobody asks.

        A node that the saga has left as if it had never come is another once read."""
        self._recent.drop((saga.name, saga.version, before))
        if not instance.terminal and not any(one is UNTOUCHED for one in instance.nodes.values()):
            self._recent.keep((saga.name, saga.version, state), instance, len(state))


def instance_of(record: Record, entries: Mapping[str, str] = NOTHING) -> Instance:
    """The state of the instance; raises DeclaredOtherwise where a newer choros has written it."""
    try:
        return with_entries(Instance.loads(record.state), entries)
    except ValueError:
        raise DeclaredOtherwise(
            f"Saga {record.saga_id} is stored in a format that this choros does not know.", "the choros that wrote it."
        ) from None


def as_stored(record: Record, sagas: Sagas = MappingProxyType({}), entries: Mapping[str, str] = NOTHING) -> Instance:
    """The instance for whoever asks how it is; of a format that is not known here, what the record itself says."""
    try:
        instance = instance_of(record, entries)
    except DeclaredOtherwise:
        return Instance(record.saga_id, "", status=cast(Status, record.status))
    saga = sagas.get((record.saga, record.saga_version))
    names = list(saga.outline.leaves) if saga else []
    numbers = [f"step {number}" for number in range(1, len(instance.steps) + 1)]
    return instance.named(names if len(names) == len(instance.steps) else numbers)


def _otherwise(record: Record) -> DeclaredOtherwise:
    return DeclaredOtherwise(
        f"Saga {record.saga!r} version {record.saga_version} is declared otherwise here than where {record.saga_id}"
        " began.",
        "deploy the declaration that it began with, or give the new one a version and: choros saga move.",
    )


def _check_body(message: type[Message], body: str) -> None:
    try:
        message.from_json(body)
    except MessageRejected as rejected:
        if _faults(rejected) <= (_OF_THE_VALUE if issubclass(message, Command | Fact) else _OF_THE_MOMENT):
            return
        raise DeclaredOtherwise(
            f"The classes of this process cannot read what is stored: {rejected.sentence}",
            "deploy those that wrote it; a changed message needs a version of its own.",
        ) from None


_OF_THE_MOMENT = frozenset({"date_future", "date_past", "datetime_future", "datetime_past"})
"""Faults of a value that was right when it was written: they say nothing of the class."""
_OF_THE_VALUE = _OF_THE_MOMENT | {"value_error", "assertion_error", "raised"}
"""Of what is only sent on, and read by others, a class has to know the shape: its validators may ask for anything."""


def _faults(rejected: MessageRejected) -> frozenset[str]:
    error = rejected.__context__
    with suppress(Exception):  # its sentences may be a user's own
        if isinstance(error, ValidationError):
            found = error.errors(include_url=False, include_context=False, include_input=False)
            return frozenset(fault["type"] for fault in found)
    return frozenset({"raised"})


def _bodies(outline: Outline, instance: Instance) -> Iterator[tuple[type[Message], str]]:
    """All that is stored of messages, with what this declaration would read each as."""
    if instance.start:  # else it is nested in another saga, and was undone before it was begun
        yield outline.start, instance.start
    if instance.failure:
        yield Failure, instance.failure
    if instance.result and outline.result:
        yield outline.result.builds, instance.result
    if instance.refusal:
        yield from _refusal(outline, instance)
    for name, body in instance.updated:
        yield outline.updates[name].update, body
    for path, state in instance.nodes.items():
        leaf, commanded = outline.leaf(path), outline.commanded(path)
        if leaf and state.fact:
            yield outline.fact_at(path, state.choice), state.fact
        if commanded and state.reply:
            yield commanded.reply_of(state.choice), state.reply
        if commanded and state.command:
            yield commanded.command_of(state.choice), state.command
        if commanded and state.leg:
            yield commanded.sent_as(state.leg.operation, state.choice, state.leg.choice), state.leg.command


def _refusal(outline: Outline, instance: Instance) -> Iterator[tuple[type[Message], str]]:
    """What nobody declares any more, nobody reads."""
    failure = Failure.from_json(instance.failure)
    leaf = outline.commanded(failure.step)
    if leaf and (data := leaf.refusal_data.get(failure.code)):
        yield data, instance.refusal

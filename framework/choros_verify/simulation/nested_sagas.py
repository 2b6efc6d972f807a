"""Sagas nested in others, for whoever plans runs or judges them: which steps a service gets, and what of a nested saga
stands."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from choros.saga.nesting import nested_in
from choros.saga.outline import Commanded
from choros.saga.paths import declared
from choros.saga.saga import Saga
from choros.store.sagas import LIVE, Record
from choros.wire.command_key import CommandKey


def served(saga: Saga[Any]) -> Sequence[Commanded]:
    """The leaves that command a service."""
    return [leaf for leaf in saga.outline.commands if not leaf.nests]


def nested_net(saga: Saga[Any], saga_id: str, records: Mapping[str, Record]) -> Iterator[tuple[str, int]]:
    """By path: how often each nested saga stands; of one that nobody waits for, whether it has begun."""
    leaves = {leaf.path: leaf for leaf in nested_in(saga.outline)}
    for path, record in _below(saga_id, records):
        leaf = leaves.get(declared(path))
        if leaf is not None:
            yield path, int(record.status == "completed" or leaf.detached)


def unreleased(saga: Saga[Any], saga_id: str, records: Mapping[str, Record]) -> Iterator[str]:
    """The paths of nested sagas that have not ended, although they were waited for."""
    awaited = {leaf.path for leaf in nested_in(saga.outline) if not leaf.detached}
    yield from (path for path, one in _below(saga_id, records) if declared(path) in awaited and one.status in LIVE)


def held_below(records: Mapping[str, Record]) -> set[str]:
    """The sagas that go no further by themselves, since one that is nested in them waits for a person."""
    found: set[str] = set()
    for record in records.values():
        waits = record.status == "parked" or '"paused":true' in record.state
        around = record.key.partition(":")[0]
        while waits and around in records and around not in found:
            found.add(around)
            around = records[around].key.partition(":")[0]
    return found


def with_nested(saga_ids: Collection[str], records: Iterable[Record]) -> set[str]:
    """These sagas and, of the records, those nested in them, however deep; each of them comes behind the other."""
    found = set(saga_ids)
    for record in records:
        if record.key.partition(":")[0] in found:
            found.add(record.saga_id)
    return found


def _below(saga_id: str, records: Mapping[str, Record]) -> Iterator[tuple[str, Record]]:
    for record in records.values():
        if record.key.startswith(f"{saga_id}:"):
            yield CommandKey.parse(f"{record.key}:do").path, record

"""What becomes of the live instances of a saga under another version of its declaration: which may go on under it at
once, which only under names that differ, which not at all; and what would be undone of each."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from choros.errors import ChorosError
from choros.runtime.orchestrator.move import moved
from choros.runtime.orchestrator.recognition import instance_of
from choros.runtime.orchestrator.stuck import Declarations
from choros.runtime.orchestrator.work import Move
from choros.saga.difference import renamed
from choros.saga.machine.instance import Instance
from choros.saga.outline import Messaging
from choros.saga.renaming import Pairs
from choros.saga.saga import Saga
from choros.store.sagas import ENDED, Record, Store

Fitness = Literal["safe", "needs a mapping", "stuck"]
PAGE = 100


@dataclass(frozen=True, slots=True)
class Migrating:
    """One instance, and what becomes of it under the other version."""

    record: Record
    verdict: Fitness
    why: str = ""
    """What stands in the way, as a sentence."""
    mapping: Pairs = ()
    """What it needs: all names that differ."""
    undo: tuple[str, ...] = ()
    """The functions that would undo it there, the newest first."""


async def migrating(
    store: Store, saga: Saga[Any], declarations: Declarations, names: Pairs = ()
) -> AsyncIterator[Migrating]:
    """Every instance of the saga that has not ended and follows another declaration than this one, the last started
    first; `names` are those of nodes that are called otherwise there and here. Raises StoreUnreachable."""
    cursor = ""
    while True:
        page = await store.find(saga=saga.name, limit=PAGE, cursor=cursor)
        for record in page.records:
            if record.status not in ENDED and record.fingerprint != saga.fingerprint.hash and not record.unreadable:
                yield await judged(record, saga, declarations, names)
        if not (cursor := page.cursor):
            return


async def judged(record: Record, saga: Saga[Any], declarations: Declarations, names: Pairs = ()) -> Migrating:
    """One of them."""
    try:
        text = await declarations.followed(record)
        before = instance_of(record)
        _, after = moved(saga, record, before, Move("", saga.version, text, tuple(names)))
    except ChorosError as error:
        return _in_the_way(record, saga, error, await declarations.text(record), dict(names))
    return Migrating(record, "safe", undo=tuple(_undone_by(saga, after)))


def _in_the_way(record: Record, saga: Saga[Any], error: ChorosError, text: str, given: Mapping[str, str]) -> Migrating:
    """Where only names differ, that is what a person has to know."""
    why = error.sentence.removeprefix(f"Saga {record.saga_id} cannot go on as version {saga.version}: ")
    names = renamed(saga.fingerprint.text, text)
    if names and names != given:
        told = ", ".join(f"{there} is called {here} here" for there, here in names.items())
        return Migrating(record, "needs a mapping", told, mapping=tuple(names.items()))
    return Migrating(record, "stuck", why)


def _undone_by(saga: Saga[Any], instance: Instance) -> Iterator[str]:
    """What may stand of it, by number where it has one, and else by its place."""
    states = [(one.number, saga.outline.place(path), path, one) for path, one in instance.nodes.items()]
    for _, _, path, state in sorted(states, key=lambda one: one[:3], reverse=True):
        leaf = saga.outline.leaf(path)
        if isinstance(leaf, Messaging) and leaf.undo and state.progress in ("sent", "ok", "in_doubt", "published"):
            yield leaf.undo.function.__name__

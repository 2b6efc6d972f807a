"""What is asked of a running saga, and what it has answered, as that is kept."""

from collections.abc import Sequence
from typing import Any, TypeVar

from choros.errors import ChorosError, StoreMisconfigured, UpdateRefused, UsageError, unknown
from choros.messages import Failure, Reply, Update
from choros.runtime.orchestrator.updates import entry_of, read_answer
from choros.saga.machine.inputs import UpdateAnswer, UpdateRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.updates import MOST_UPDATES
from choros.saga.parameters import DeclaredUpdate
from choros.saga.saga import Saga
from choros.store.sagas import Store

R = TypeVar("R", bound=Reply)
_LONGEST_ID = 200


def check_own_id(id: object) -> None:
    """An id of the caller's own is kept with the saga; raises UsageError for what is none."""
    if not (isinstance(id, str) and len(id) <= _LONGEST_ID and (not id or id.isprintable())):
        raise UsageError(f"An id has up to {_LONGEST_ID} printable characters.", "'change-17'.")


def update_named(saga: Saga[Any], name: str) -> DeclaredUpdate:
    """What the saga answers by this name, or its only one; raises UsageError."""
    updates = saga.outline.updates
    if not name and len(updates) == 1:
        return next(iter(updates.values()))
    if name not in updates:
        what = f"saga {saga.name!r} answers {f'no update {name!r}' if name else f'{len(updates)} updates'}."
        raise UsageError(*unknown(what, name, updates, _hint(list(updates))))
    return updates[name]


def _hint(names: Sequence[str]) -> str:
    return f"name one of {', '.join(names)}." if names else "Saga(..., updates=(change_address,))."


async def kept_answer(store: Store, asked: UpdateRequested, instance: Instance, update: Update[R]) -> R:
    """What the saga has answered under this id; raises UpdateRefused, and UsageError where that was something else."""
    name, saga_id = entry_of(asked.id), instance.saga_id
    kept = (await store.load([saga_id], {saga_id: [name]})).get(saga_id)
    if kept is None or not kept.entries.get(name):
        raise _not_kept(asked, full=instance.updates >= MOST_UPDATES)
    answer = _read(kept.entries[name], saga_id)
    if answer.update != asked.update:
        raise UsageError(f"The id {asked.id!r} was that of {answer.update}.", "an id of its own for each update.")
    if answer.refused:
        failure = Failure.from_json(answer.body)
        said = f": {failure.detail}" if failure.detail else ""
        raise UpdateRefused(f"{asked.update} was refused as {failure.code}{said}.", code=failure.code)
    reply: Any = type(update).reply_type.from_json(answer.body)
    told: R = reply
    return told


def _not_kept(asked: UpdateRequested, *, full: bool) -> ChorosError:
    if full:
        sentence = f"{asked.update} was refused as too_many: the saga has answered {MOST_UPDATES} updates."
        return UpdateRefused(sentence, "a Wait, for what is told again and again.", code="too_many")
    return UsageError(f"The id {asked.id!r} was that of something else.", "an id of its own for each update.")


def _read(text: str, saga_id: str) -> UpdateAnswer:
    try:
        return read_answer(text)
    except ValueError:
        sentence = f"An answer of saga {saga_id} cannot be read."
        raise StoreMisconfigured(sentence, "the choros that wrote it, or a backup.") from None

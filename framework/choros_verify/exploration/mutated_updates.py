"""The same for updates: the machine's functions with one of their rules left out."""

from choros.saga.machine import updates
from choros.saga.machine.inputs import UpdateAnswer, UpdateRequested
from choros.saga.machine.walk import SagaWalk
from choros.saga.parameters import DeclaredUpdate
from choros_verify.exploration.variant import instead_of

_JUDGED, _TAKE = updates._judged, updates.take_update


@instead_of(updates._judged)
def update_answered_and_not_kept(walk: SagaWalk, update: DeclaredUpdate, asked: UpdateRequested) -> UpdateAnswer:
    """An update is accepted, and what it changes is lost."""
    before = walk.instance.updated
    answer = _JUDGED(walk, update, asked)
    walk.change(updated=before)
    return answer


@instead_of(updates.take_update)
def update_applied_twice(walk: SagaWalk, asked: UpdateRequested) -> None:
    """An update is applied once more by whoever comes to it next."""
    _TAKE(walk, asked)
    _TAKE(walk, asked)


@instead_of(updates._too_late)
def update_judged_on_an_old_view(walk: SagaWalk, update: DeclaredUpdate) -> str:
    """An update is judged on the saga as it was when it began."""
    return ""

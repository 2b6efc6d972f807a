"""Where a saga waits for a person: the steps that one may retry or skip, and which of them is meant."""

from __future__ import annotations

from typing import Any

from choros.errors import UsageError, unknown
from choros.saga.machine.instance import ROOT, Instance
from choros.saga.saga import Saga

CLOSING_FACTS = ROOT
"""What goes by no name: every step is done, and a closing fact could not be built."""


def meant(saga: Saga[Any], instance: Instance, step: str | None, round: int | None) -> tuple[str, int]:
    """The step and the round that a person means; raises UsageError for a step that there is not, or where nothing
    is parked. Without a name, the only one that is parked."""
    waiting = {path: state.round for path, state in instance.parked_at.items()}
    names = list(saga.outline.leaves)
    if step is None:
        step = _only(instance, list(waiting))
    elif step not in (*names, CLOSING_FACTS):
        raise UsageError(*unknown(f"saga {saga.name!r} has no step {step!r}.", step, names))
    elif waiting and step not in waiting:
        where = ", ".join(waiting) or "its closing facts"
        raise UsageError(f"Saga {instance.saga_id} is parked at {where}, not at {step}.", f"--step {where}.")
    return step, waiting.get(step, 1) if round is None else round


def _only(instance: Instance, waiting: list[str]) -> str:
    if not waiting:
        way = "paused" if instance.paused else instance.status
        raise UsageError(f"Saga {instance.saga_id} is not parked: it is {way}.", "choros saga list --status parked.")
    if len(waiting) > 1:
        raise UsageError(
            f"Saga {instance.saga_id} is parked at several steps.", f"--step, one of {', '.join(waiting)}."
        )
    return waiting[0]

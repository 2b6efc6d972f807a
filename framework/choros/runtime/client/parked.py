"""Where a saga waits for a person: which step is meant that one may retry or skip, and what its skipping closes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from choros.errors import UsageError, unknown
from choros.messages import Message
from choros.saga.machine.instance import ROOT, Instance
from choros.saga.paths import declared
from choros.saga.saga import Saga

CLOSING_FACTS = ROOT
"""What goes by no name: every step is done, and a closing fact could not be built."""


@dataclass(frozen=True, slots=True)
class Skippable:
    """A command that a person may close."""

    what: str
    undo: bool
    """Whether it is the one that undoes the step: then nothing follows from its answer."""
    reply: type[Message]
    """What it is answered with; where its step chose, the reply to what it chose."""


def meant(saga: Saga[Any], instance: Instance, step: str | None, round: int | None) -> tuple[str, int]:
    """The step and the round that a person means; raises UsageError for a step that there is not, or where nothing
    is parked. Without a name, the only one that is parked."""
    waiting = {path: state.round for path, state in instance.parked_at.items()}
    names = list(saga.outline.nodes)
    if step is None:
        step = _only(instance, list(waiting))
    elif declared(step) not in (*names, CLOSING_FACTS):
        raise UsageError(*unknown(f"saga {saga.name!r} has no step {step!r}.", step, names))
    elif waiting and step not in waiting:
        where = ", ".join(waiting) or "its closing facts"
        raise UsageError(f"Saga {instance.saga_id} is parked at {where}, not at {step}.", _named(list(waiting)))
    return step, waiting.get(step, 1) if round is None else round


def _only(instance: Instance, waiting: list[str]) -> str:
    if not waiting:
        way = "paused" if instance.paused else instance.status
        raise UsageError(f"Saga {instance.saga_id} is not parked: it is {way}.", "choros saga list --status parked.")
    if len(waiting) > 1:
        raise UsageError(f"Saga {instance.saga_id} is parked at several steps.", _named(waiting))
    return waiting[0]


def _named(waiting: Sequence[str]) -> str:
    """How to say which is meant: in a shell, which may read the brackets of an item otherwise."""
    names = ", ".join(shlex.quote(path) for path in waiting)
    return f"--step, one of {names}." if len(waiting) > 1 else f"--step {names}."


def skippable(saga: Saga[Any], instance: Instance, step: str) -> Skippable:
    """The command that skipping this step closes; raises UsageError where the saga commands none."""
    leaf = saga.outline.commanded(step)
    if leaf is None:
        commanded = [one.path for one in saga.outline.commands]
        raise UsageError(*unknown(f"saga {saga.name!r} commands no step {step!r}.", step, commanded))
    state = instance.state(step)
    if (state.leg and state.closes == "undo") or (instance.backward and leaf.existing):
        return Skippable(f"The undo of {step} of saga {saga.name!r}", True, leaf.answers("undo")[0])
    return Skippable(f"{step} of saga {saga.name!r}", False, leaf.reply_of(state.choice))

"""Skipping a parked step: which of its two commands is closed, and what a person may put in the place of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from choros.errors import UsageError, unknown
from choros.messages import Reply
from choros.saga.machine.instance import Instance
from choros.saga.saga import Saga


@dataclass(frozen=True, slots=True)
class Skippable:
    """A command that a person may close."""

    what: str
    undo: bool
    """Whether it is the one that undoes the step: then nothing follows from its answer."""
    reply: type[Reply]


def skippable(saga: Saga[Any], instance: Instance, step: str) -> Skippable:
    """The command that an instance at this step waits for; raises UsageError where there is none."""
    leaf = saga.outline.commanded(step)
    if leaf is None:
        commanded = [one.path for one in saga.outline.commands]
        raise UsageError(*unknown(f"saga {saga.name!r} commands no step {step!r}.", step, commanded))
    if instance.backward and leaf.compensation:
        return Skippable(f"The undo of {step} of saga {saga.name!r}", True, leaf.compensation.reply_type)
    return Skippable(f"{step} of saga {saga.name!r}", False, leaf.reply_type)

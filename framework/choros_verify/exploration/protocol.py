"""The rules that an exploration runs under. The shipped ones are choros's own; a mutant has one of them taken out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from choros.runtime.host import verdicts as barrier
from choros.saga.machine import machine
from choros.saga.machine.inputs import Decision

Begin = Callable[..., Decision]
Decide = Callable[..., Decision]


@dataclass(frozen=True)
class Protocol:
    """What decides: the real machine and the real barrier, and what the processes around them promise."""

    begin: Begin = machine.begin
    decide: Decide = machine.decide
    on_do: Callable[..., Any] = barrier.on_do
    on_undo: Callable[..., Any] = barrier.on_undo
    on_close: Callable[..., Any] = barrier.on_close
    outbox: bool = True
    """What a commit is to send is stored with it, and so is its timer."""
    commits_first: bool = True
    """What came in is acknowledged when it is committed, not before."""
    folds: bool = True
    """Inputs of one saga that wait together make one transition."""
    key_per_attempt: bool = False
    """The command key is another one on each attempt."""
    buries: bool = True
    """An undo that finds nothing leaves a tombstone."""
    keeps_refusals: bool = True
    """A refusal is stored as the command's answer."""
    keeps_expired: bool = True
    """So is the refusal of a command that came past its deadline."""
    rows_expire: bool = False
    """The barrier's rows vanish after a while, whatever is still on its way."""
    provider_keys: bool = True
    """A provider recognises a call that it has had, by its idempotency key."""

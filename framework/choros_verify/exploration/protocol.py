"""The rules that an exploration runs under. The shipped ones are choros's own; a mutant has one of them taken out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from choros.errors import Refused
from choros.messages import Reply
from choros.runtime.participant import verdicts
from choros.runtime.participant.verdicts import Conclude, Matter, Verdict
from choros.saga.machine import machine, rerun
from choros.saga.machine.inputs import Decision
from choros.saga.machine.instance import Instance, NodeState
from choros.saga.outline import Outline
from choros.store.barrier import Row

Begin = Callable[..., Decision]
Decide = Callable[..., Decision]


@dataclass(frozen=True)
class Protocol:
    """What decides: the real machine and the real barrier, and what the processes around them promise."""

    begin: Begin = machine.begin
    decide: Decide = machine.decide
    why_not: Callable[[Outline, Instance, str], str] = rerun.why_not
    """Why a saga that has ended must not be run again from a step; empty where it may."""
    kept_by: Callable[[Outline, Instance, str], Mapping[str, NodeState]] = rerun.kept_by
    """What the saga that it is run again as takes over."""
    judge: Callable[[Matter], Verdict] = verdicts.judge
    concluded: Callable[[Matter, Reply | Refused], Conclude] = verdicts.concluded
    writes: Callable[[Row], bool] = lambda row: True
    """Whether a row of a verdict is written."""
    outbox: bool = True
    """What a commit is to send is stored with it, and so is its timer."""
    commits_first: bool = True
    """What came in is acknowledged when it is committed, not before."""
    folds: bool = True
    """Inputs of one saga that wait together make one transition."""
    key_per_attempt: bool = False
    """The command key is another one on each attempt."""
    rows_expire: bool = False
    """The barrier's rows vanish after a while, whatever is still on its way."""
    provider_keys: bool = True
    """A provider recognises a call that it has had, by its idempotency key."""
    finishes: Callable[[Row], bool] = lambda row: row.state == "unfinished"
    """Whether somebody outside may still say what became of the command of this row."""
    provider_cancels: bool = True
    """What was called, and of which nothing is known, is cancelled at the provider before it is called nothing."""

"""The same for what a saga is told of its lock: the machine's functions with one of their rules left out."""

from choros.messages import Failure
from choros.saga.machine import locks
from choros.saga.machine.inputs import LockTold
from choros.saga.machine.instance import LockState
from choros.saga.machine.walk import SagaWalk
from choros.values import replace
from choros_verify.exploration.variant import instead_of

_WAIT = locks._wait


@instead_of(locks._wait)
def begun_without_its_lock(walk: SagaWalk, state: LockState, told: LockTold) -> None:
    """That it waits for its lock counts as that it has it."""
    walk.change(lock=replace(state, taken=True, until=None, ask_at=None))
    walk.go_on()


@instead_of(locks._wait)
def queued_without_end(walk: SagaWalk, state: LockState, told: LockTold) -> None:
    """A saga in the queue of its lock waits for as long as it takes."""
    _WAIT(walk, replace(state, until=None), told)


@instead_of(locks._join)
def joined_as_if_undone(walk: SagaWalk, holder: str) -> None:
    """A saga that joins another one says what it says when it was undone."""
    walk.turn_back(Failure(code=locks.JOINED, detail=f"Saga {holder} does it."))

"""The functions by which a saga is run again, with one rule left out."""

from collections.abc import Mapping

from choros.saga.machine import rerun
from choros.saga.machine.inputs import Decision
from choros.saga.machine.instance import Instance, NodeState
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Leaf, Outline, SagaPart
from choros.values import replace
from choros_verify.exploration.variant import Swap, instead_of

_KEPT, _END = rerun.kept_by, SagaWalk.end


@instead_of(rerun._is_whole)
def kept_though_undone(instance: Instance, part: SagaPart) -> bool:
    """What was undone, or never done, is taken over as if it stood."""
    return True


@instead_of(rerun._left)
def again_though_it_stands(instance: Instance, part: SagaPart) -> str:
    """What still stands is done once more."""
    return ""


@instead_of(rerun.kept_by)
def held_facts_forgotten(outline: Outline, instance: Instance, step: str) -> Mapping[str, NodeState]:
    """What the other instance held when somebody ended it is never told."""
    return {path: state for path, state in _KEPT(outline, instance, step).items() if state.progress != "held"}


@instead_of(rerun._turned)
def no_taken_for_yes(leaf: Leaf, state: NodeState) -> bool:
    """Who said no, or nothing in time, is not asked again, and the saga goes on."""
    return False


@instead_of(SagaWalk.end)
def goes_on_without_its_lock(self: SagaWalk) -> Decision:
    """Who takes something over does not wait for its lock."""
    lock = self.instance.lock
    if lock and self.begun and not self.instance.backward:
        self.change(lock=replace(lock, taken=True))
    return _END(self)


RERUN_MUTANTS: Mapping[str, Swap] = {
    "kept though undone": kept_though_undone,
    "again though it stands": again_though_it_stands,
    "held facts forgotten": held_facts_forgotten,
    "no taken for yes": no_taken_for_yes,
    "goes on without its lock": goes_on_without_its_lock,
}

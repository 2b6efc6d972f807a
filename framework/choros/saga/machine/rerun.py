"""Running a saga again from its end: what may be kept of it, and the taking over, decided once and for all.

The new instance keeps the steps before `from` and owns their effects from then on: it knows them under the keys that
they were carried out with, so its undo reaches them. Only one instance may ever own an effect; hence the old one notes
its one successor in its own record, by the same compare-and-set as everything else, before that begins.
"""

from collections.abc import Mapping

from choros.errors import unknown
from choros.saga.machine.instance import Instance, NodeState
from choros.saga.outline import Outline
from choros.values import replace


def why_not(outline: Outline, instance: Instance, step: str) -> str:
    """Why the saga cannot be run again from this step, as a sentence; empty if it can."""
    if not instance.terminal:
        return f"The saga is {instance.status}; only one that is completed or compensated can be run again."
    if outline.commanded(step) is None:
        return unknown(f"The saga commands no step {step!r}.", step, [one.path for one in outline.commands])[0]
    if instance.successor:
        return f"It was run again from {instance.rerun_from}, as {instance.successor}; that one has taken it over."
    return _in_the_way(outline, instance, step)


def _in_the_way(outline: Outline, instance: Instance, step: str) -> str:
    before = True
    for leaf in outline.commands:
        before = before and leaf.path != step
        state = instance.state(leaf.path)
        if before and state.progress != "ok":
            first = outline.commands[0].path
            return f"{leaf.path} does not stand any more, so nothing can be kept; run it again from {first}."
        if not before and leaf.changes and stands(state):
            return f"{leaf.path} still stands, and would be there twice."
    return ""


def stands(state: NodeState) -> bool:
    """Whether the step's effect is there; a person who skipped it had the participant promise that it is not."""
    return state.progress == "ok" and not state.skipped


def kept_by(outline: Outline, instance: Instance, step: str) -> Mapping[str, NodeState]:
    """The steps before this one, as the new instance takes them over; not the facts just before it that an undone saga
    dropped or took back, since they come out anew, nor the checks and sleeps behind those, which are anew, too."""
    paths = list(outline.leaves)
    kept = [(path, instance.state(path)) for path in paths[: paths.index(step)]]
    while any(_gone(state) for _, state in kept) and (_gone(kept[-1][1]) or not outline.leaves[kept[-1][0]].changes):
        kept.pop()
    return {path: replace(state, owner=state.owner or instance.saga_id) for path, state in kept}


def _gone(state: NodeState) -> bool:
    return state.progress in ("pending", "retracted")

"""Running a saga again from its end: what may be kept of it, and the taking over, decided once and for all.

The new instance keeps the steps before `from` and owns their effects from then on: it knows them under the keys that
they were carried out with, so its undo reaches them. Only one instance may ever own an effect; hence the old one notes
its one successor in its own record, by the same compare-and-set as everything else, before that begins.
"""

from collections.abc import Mapping

from choros.errors import unknown
from choros.saga.machine.instance import DECLINED, Instance, NodeState
from choros.saga.outline import Commanded, Composite, Leaf, Outline, SagaPart
from choros.saga.paths import declared
from choros.values import replace


def why_not(outline: Outline, instance: Instance, step: str) -> str:
    """Why the saga cannot be run again from this step, as a sentence; empty if it can."""
    if not instance.terminal:
        return f"The saga is {instance.status}; only one that has ended can be run again."
    if "." in step and step in outline.nodes:
        return (
            f"{step} stands in {step.partition('.')[0]}; a saga is run again from there, or from another of its steps."
        )
    if not _may_begin(outline, step):
        own = [part.path for part in outline.parts if _may_begin(outline, part.path)]
        return unknown(f"The saga commands no step {step!r}.", step, own)[0]
    if doubtful := [path for path, state in instance.nodes.items() if state.progress == "in_doubt"]:
        return f"It was terminated, and {', '.join(doubtful)} may stand or not: what is run again might be there twice."
    if instance.standing:
        return f"It has left {', '.join(instance.standing)} standing: what is run again might be there twice."
    if instance.successor:
        return f"It was run again from {instance.rerun_from}, as {instance.successor}; that one has taken it over."
    for leaf in outline.commands:
        if leaf.existing and not stands(instance.state(leaf.path)):
            return f"What was there before the saga is gone: {leaf.path}. No saga makes it again."
    return _in_the_way(outline, instance, step)


def _may_begin(outline: Outline, step: str) -> bool:
    part = outline.nodes.get(step)
    existing = isinstance(part, Commanded) and part.existing
    return isinstance(part, Commanded | Composite) and "." not in step and not existing


def _in_the_way(outline: Outline, instance: Instance, step: str) -> str:
    place = outline.place(step)
    for part in outline.parts:
        before = outline.place(part.path) < place
        if before and (ended := _ended(instance, part)):
            return f"{ended} is a saga that has ended for good, so nobody could undo it any more."
        if before and not _is_whole(instance, part):
            first = next(one.path for one in outline.parts if _may_begin(outline, one.path))
            return f"{part.path} does not stand any more, so nothing can be kept; run it again from {first}."
        if not before and (left := _left(instance, part)):
            return f"{left} still stands, and would be there twice."
    return ""


def _is_whole(instance: Instance, part: SagaPart) -> bool:
    """Whether all that it came to stands; a composite that the saga never came to the end of does not."""
    if isinstance(part, Composite):
        return instance.state(part.path).progress == "ok" and not any(
            state.progress in ("undone", "in_doubt", "refused", "retracted")
            for state in _all_of(instance, part).values()
        )
    return not isinstance(part, Commanded) or instance.state(part.path).progress in ("ok", "passed_over")


def _ended(instance: Instance, part: SagaPart) -> str:
    nested = {leaf.path for leaf in part.leaves if leaf.nests and leaf.kind != "detached"}
    states = _all_of(instance, part).items() if nested else ()
    return next((path for path, state in states if declared(path) in nested and stands(state)), "")


def _left(instance: Instance, part: SagaPart) -> str:
    changing = {leaf.path for leaf in part.leaves if isinstance(leaf, Commanded) and leaf.changes}
    states = _all_of(instance, part).items()
    return next((path for path, state in states if declared(path) in changing and stands(state)), "")


def stands(state: NodeState) -> bool:
    """Whether the step's effect is there; a person who skipped it had the participant promise that it is not."""
    return state.progress == "ok" and not state.skipped


def kept_by(outline: Outline, instance: Instance, step: str) -> Mapping[str, NodeState]:
    """The steps before this one, as the new instance takes them over; not the facts just before it that an undone saga
    dropped or took back, since they come out anew, nor a wait that was told no, or nothing in time: it asks anew. The
    checks and sleeps behind those are anew, too.

    What was there before the saga nobody has carried out: that is taken back by a command of the new one's own."""
    kept = [(part, _all_of(instance, part)) for part in outline.parts if outline.place(part.path) < outline.place(step)]
    while any(_gone(*one) for one in kept) and (_gone(*kept[-1]) or _changes_nothing(kept[-1][0])):
        kept.pop()
    owned = ((path, state) for _, states in kept for path, state in states.items())
    existing = {leaf.path for leaf in outline.commands if leaf.existing}
    return {
        path: state if path in existing else replace(state, owner=state.owner or instance.saga_id)
        for path, state in owned
    }


def _all_of(instance: Instance, part: SagaPart) -> Mapping[str, NodeState]:
    """The state of this node, and of all that stand in it."""
    if isinstance(part, Leaf):
        return {part.path: instance.state(part.path)}
    inside = (f"{part.path}.", f"{part.path}[")
    return {path: one for path, one in instance.nodes.items() if path == part.path or path.startswith(inside)}


def _gone(part: SagaPart, states: Mapping[str, NodeState]) -> bool:
    if isinstance(part, Leaf) and _turned(part, states[part.path]):
        return True
    return any(state.progress in ("pending", "retracted") for state in states.values())


def _turned(leaf: Leaf, state: NodeState) -> bool:
    """Whether it is a wait that was told no, or nothing in time that the saga could go on without."""
    return state.choice == DECLINED or (leaf.insists and state.progress == "lapsed")


def _changes_nothing(part: SagaPart) -> bool:
    return isinstance(part, Leaf) and not part.changes

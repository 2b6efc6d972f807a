"""What of a saga may still come, read off its outline and the states of its nodes: honest about what nobody can say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from choros.saga.machine.instance import Instance, NodeState
from choros.saga.outline import Commanded, Composite, Leaf, Limb, Messaging, Outline, SagaPart
from choros.saga.paths import around, in_item

_OPEN = ("pending", "listed", "sent", "asleep", "awaiting", "entered", "in_doubt")


@dataclass(frozen=True, slots=True)
class RemainingStep:
    """A step that is not over."""

    step: str
    """Its path; with `[]` where nobody knows yet for which items."""
    kind: str
    """What a person calls it: `step`, `pivot`, `wait`; where the saga is being undone, `undo`."""
    sure: bool
    """Whether it comes, if nothing fails; else that hangs on a choice that is not made, or on which of several wins."""
    begun: bool
    """Whether it is under way."""


def remaining_steps(outline: Outline, instance: Instance) -> Sequence[RemainingStep]:
    """All of them, in the order of the declaration; of a saga that is being undone, what is left to undo, the newest
    first. None of one that has ended or is being terminated."""
    if instance.terminal or instance.terminating or instance.ending or instance.stage:
        return ()
    if instance.backward:
        return list(_undone(outline, instance))
    return [one for part in outline.parts for one in _forward(instance, part, "", sure=True)]


def _undone(outline: Outline, instance: Instance) -> Iterator[RemainingStep]:
    nodes = sorted(instance.nodes.items(), key=lambda one: (one[1].number, outline.place(one[0])), reverse=True)
    for path, state in nodes:
        leaf = outline.leaf(path)
        done = state.progress in ("ok", "in_doubt", "published") or state.leg is not None
        if isinstance(leaf, Messaging) and leaf.undo and done:
            yield RemainingStep(path, "undo", not leaf.undo.optional, state.leg is not None)
    for leaf in reversed(outline.commands):
        state = instance.state(leaf.path)
        if leaf.existing and state.progress != "undone":
            yield RemainingStep(leaf.path, "undo", not leaf.action.optional, state.leg is not None)


def _forward(instance: Instance, part: SagaPart, item: str, *, sure: bool) -> Iterator[RemainingStep]:
    path = in_item(part.path, item) if item else part.path
    state = instance.state(path)
    if _is_lost(instance, path) or not (state.progress in _OPEN or state.parked):
        return
    if isinstance(part, Leaf):
        yield from _leaf(part, path, state, sure=sure)
    elif part.loop:
        yield from _loop(instance, part, path, state, sure=sure)
    else:
        for limb, certain in _ways(part, state):
            yield from _all(instance, limb, item, sure=sure and certain)


def _leaf(leaf: Leaf, path: str, state: NodeState, *, sure: bool) -> Iterator[RemainingStep]:
    if not (isinstance(leaf, Commanded) and leaf.existing):
        optional = isinstance(leaf, Messaging) and leaf.action.optional
        begun = state.progress not in ("pending", "listed") or bool(state.parked)
        yield RemainingStep(path, leaf.kind, begun or (sure and not optional), begun)


def _ways(part: Composite, state: NodeState) -> Iterator[tuple[Limb, bool]]:
    """Those that may still be taken, and whether that is sure."""
    chosen = [limb for limb in part.limbs if limb.name == state.choice]
    if part.questions:
        yield from ((limb, bool(chosen)) for limb in chosen or part.limbs)
    elif part.alternatives:
        tried, *others = part.limbs
        goes_on = state.choice in ("", tried.name)
        yield from [(tried, True)] if goes_on else []
        yield from ((limb, not goes_on) for limb in others)
    else:
        yield from ((limb, not part.wins) for limb in part.limbs)


def _loop(instance: Instance, part: Composite, path: str, state: NodeState, *, sure: bool) -> Iterator[RemainingStep]:
    """The items that there are, or this time and perhaps another; before that is known, what there may be."""
    assert part.loop
    if state.progress == "pending":
        yield from _all(instance, part.limbs[0], f"{path}[]", sure=sure and part.loop.item is None)
    elif part.loop.item is None:
        yield from _all(instance, part.limbs[0], f"{path}[{max(0, state.begun - 1)}]", sure=sure)
        yield RemainingStep(path, part.kind, False, True)
    else:
        for index in range(state.items):
            yield from _all(instance, part.limbs[0], f"{path}[{index}]", sure=sure)


def _all(instance: Instance, limb: Limb, item: str, *, sure: bool) -> Iterator[RemainingStep]:
    for part in limb.parts:
        yield from _forward(instance, part, item, sure=sure)


def _is_lost(instance: Instance, path: str) -> bool:
    """Whether the saga goes on without it, or something that it stands in."""
    while path:
        if instance.state(path).lost:
            return True
        path = around(path)
    return False

"""What must hold where several commands may be under way at a time, or a saga goes on without what it has begun."""

from collections.abc import Iterator, Sequence

from choros.saga.machine.inputs import Decision, Input
from choros.saga.machine.instance import Instance
from choros.saga.outline import Commanded, Composite, Outline, SagaPart
from choros_verify.exploration.ways import holds_leaf


def wrong(outline: Outline, before: Instance, decided: Decision, inputs: Sequence[Input]) -> Iterator[str]:
    """What is wrong with a decision, as sentences."""
    after = decided.instance
    yield from _crowded(outline, after)
    if len(inputs) == 1 and not all(after.state(send.key.path).leg for send in decided.sends):
        yield "a command is sent whose answer nothing awaits"
    for path, was in before.nodes.items():
        if was.reply and not after.state(path).reply:
            yield f"what {path} was answered with is lost, and what comes later may ask for it"


def _crowded(outline: Outline, after: Instance) -> Iterator[str]:
    """A pivot is under way alone, and of a loop no more items than it says."""
    legs = {path: state.leg for path, state in after.nodes.items() if state.leg}
    if len(legs) > 1 and not after.terminating:
        yield from (f"{path} is sent while others are under way" for path in legs if path in outline.pivots)
    doing = [path for path, leg in legs.items() if leg.operation == "do"]
    for part in outline.nodes.values():
        if isinstance(part, Composite) and part.loop:
            begun = f"{part.path}["
            items = {path[: path.index("]", len(begun))] for path in doing if path.startswith(begun)}
            if len(items) > part.loop.at_once:
                yield f"{len(items)} items of {part.path} are under way, and not {part.loop.at_once}"


def given_up(parts: Sequence[SagaPart], path: str) -> Iterator[Commanded]:
    """What stands in other ways than this leaf, through nodes of which one way comes to stand."""
    for part in parts:
        if not isinstance(part, Composite) or not holds_leaf(part, path):
            continue
        for limb in part.limbs:
            if any(holds_leaf(inner, path) for inner in limb.parts):
                yield from given_up(limb.parts, path)
            elif part.alternatives:
                leaves = (leaf for inner in limb.parts for leaf in inner.leaves)
                yield from (leaf for leaf in leaves if isinstance(leaf, Commanded) and leaf.changes)

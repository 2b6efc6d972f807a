"""What a saga's outline says of the ways through it: what may be under way together, which branch is due, and in which
order what stands is undone."""

from collections.abc import Sequence

from choros.messages import Message
from choros.saga.machine.inputs import Answered, Input
from choros.saga.machine.instance import Instance
from choros.saga.outline import Commanded, Composite, Outline, SagaPart
from choros.saga.parameters import Need
from choros.saga.paths import declared


def holds_leaf(part: SagaPart, path: str) -> bool:
    """Whether the leaf of this path is it, or stands in it."""
    return any(leaf.path == path for leaf in part.leaves)


def branch_due(part: Composite, instance: Instance) -> str:
    """The branch that its questions stand for, asked here once more."""
    for question, limb in zip(part.questions, part.limbs, strict=False):  # the last has no question
        given = {need.parameter: _known(need, instance) for need in question.needs}
        if question.function(**given):
            return limb.name
    return part.limbs[-1].name


def _known(need: Need, instance: Instance) -> Message | None:
    state = instance.state(need.step)
    body = instance.start if need.source == "start" else state.command if need.source == "command" else state.reply
    kind: type[Message] | None = dict(need.by_choice).get(state.choice) if need.by_choice else need.message
    return kind.from_json(body) if kind and body else None


def order(
    known: tuple[frozenset[str], ...], before: Instance, after: Instance, inputs: Sequence[Input]
) -> tuple[frozenset[str], ...]:
    """The leaves that may stand, the oldest first, after this decision: what was answered, in the order in which it
    was applied, and then what was open when the saga turned."""
    answered = [given.key.path for given in inputs if isinstance(given, Answered)]
    new = [path for path, state in after.nodes.items() if state.progress != before.state(path).progress]
    done = [path for path in dict.fromkeys((*answered, *new)) if path in new and after.state(path).progress == "ok"]
    doubt = frozenset(path for path in new if after.state(path).progress == "in_doubt")
    groups = (*known, *(frozenset({path}) for path in done), doubt)
    kept = (frozenset(path for path in group if after.state(path).progress in ("ok", "in_doubt")) for group in groups)
    return tuple(group for group in kept if group)


def beside(parts: Sequence[SagaPart], one: str, other: str) -> bool:
    """Whether these two leaves may be under way together: in two ways through a node that takes all of its ways."""
    for part in parts:
        if isinstance(part, Composite) and holds_leaf(part, one) and holds_leaf(part, other):
            limbs = [limb.parts for limb in part.limbs if any(holds_leaf(inner, one) for inner in limb.parts)]
            apart = not any(holds_leaf(inner, other) for limb in limbs for inner in limb)
            return not part.questions if apart else any(beside(limb, one, other) for limb in limbs)
    return False


def unordered(outline: Outline, one: str, other: str) -> bool:
    """Whether the order of their effects says nothing of the order in which these two are undone: they are in two items
    of a loop that does several at a time, or in two ways through a node that takes all of its ways."""
    return _in_items_apart(outline, one, other) or beside(outline.parts, declared(one), declared(other))


def _in_items_apart(outline: Outline, one: str, other: str) -> bool:
    heads, others = one.split("["), other.split("[")
    parting = next((place for place, both in enumerate(zip(heads, others, strict=False)) if len({*both}) > 1), 0)
    if not parting or heads[parting].partition("]")[0] == others[parting].partition("]")[0]:
        return False
    loop = outline.nodes[declared("[".join(heads[:parting]))]
    return isinstance(loop, Composite) and bool(loop.loop and loop.loop.at_once > 1)


def partly(outline: Outline) -> bool:
    """Whether a part of it may be undone for itself, while the others go on or have yet to follow."""
    composites = [part for part in outline.nodes.values() if isinstance(part, Composite)]
    return any(part.wins or (part.alternatives and not part.questions) for part in composites)


def newer(outline: Outline, order: Sequence[frozenset[str]], path: str) -> list[Commanded]:
    """The leaves to undo that were accepted after this one."""
    behind = {one for place, group in enumerate(order) for one in group if any(path in old for old in order[:place])}
    return [leaf for leaf in outline.commands if leaf.path in behind and leaf.changes and not leaf.existing]

"""What a saga's outline says of the ways through it: what may be under way together, which branch is due, and in which
order what stands is undone."""

from collections.abc import Sequence

from choros.messages import Message
from choros.saga.machine.inputs import Answered, Input
from choros.saga.machine.instance import Instance
from choros.saga.orders import UndoOrder
from choros.saga.outline import Commanded, Composite, Outline, SagaPart
from choros.saga.parameters import Need, PureFunction
from choros.saga.paths import declared, item_around, same_item, stands_in


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
    outline: Outline, known: tuple[frozenset[str], ...], before: Instance, after: Instance, inputs: Sequence[Input]
) -> tuple[frozenset[str], ...]:
    """The leaves that may stand, the oldest first, after this decision: what was answered, in the order in which it
    was applied, with what turned for itself on such an answer; and then what was open when the saga turned."""
    answered = [given.key.path for given in inputs if isinstance(given, Answered)]
    new = [path for path, state in after.nodes.items() if state.progress != before.state(path).progress]
    open_ = {path for path in new if after.state(path).progress == "in_doubt"}
    groups = list(known)
    for path in dict.fromkeys((*answered, *new)):
        if path in new and after.state(path).progress == "ok":
            groups.append(frozenset({path}))
        elif path in answered and (inside := undone_with(outline, after, path)):
            groups.append(frozenset(one for one in open_ if stands_in(one, inside)))
            open_ -= groups[-1]
    kept = (frozenset(p for p in group if after.state(p).progress in ("ok", "in_doubt")) for group in (*groups, open_))
    return tuple(group for group in kept if group)


def beside(parts: Sequence[SagaPart], one: str, other: str) -> bool:
    """Whether these two leaves may be under way together: in two ways through a node that takes all of its ways."""
    for part in parts:
        if isinstance(part, Composite) and holds_leaf(part, one) and holds_leaf(part, other):
            limbs = [limb.parts for limb in part.limbs if any(holds_leaf(inner, one) for inner in limb.parts)]
            apart = not any(holds_leaf(inner, other) for limb in limbs for inner in limb)
            return not part.questions if apart else any(beside(limb, one, other) for limb in limbs)
    return False


def together_in(outline: Outline, instance: Instance, one: str, other: str) -> bool:
    """Whether these two leaves may be under way at a time."""
    if instance.backward:
        return not (waits(outline, one, other) or waits(outline, other, one))
    return beside(outline.parts, one, other)


def unordered(outline: Outline, one: str, other: str) -> bool:
    """Whether the order of their effects says nothing of the order in which these two are undone: they are in two items
    of a loop that does several at a time, or undoes them so, in two ways through a node that takes all of its ways, or
    undone as they need each other."""
    apart = _in_items_apart(outline, one, other) or beside(outline.parts, declared(one), declared(other))
    return apart or not waits(outline, declared(one), declared(other))


def _in_items_apart(outline: Outline, one: str, other: str) -> bool:
    heads, others = one.split("["), other.split("[")
    parting = next((place for place, both in enumerate(zip(heads, others, strict=False)) if len({*both}) > 1), 0)
    if not parting or heads[parting].partition("]")[0] == others[parting].partition("]")[0]:
        return False
    loop = outline.nodes[declared("[".join(heads[:parting]))]
    counted = _order_at(outline, loop.path) == "newest_first"
    return isinstance(loop, Composite) and bool(loop.loop and (loop.loop.at_once > 1 or not counted))


def _order_at(outline: Outline, path: str) -> UndoOrder:
    """In which order what stands in this node is undone."""
    around = [part for part in outline.nodes.values() if isinstance(part, Composite) and stands_in(path, part.path)]
    order = outline.undo
    for part in around:
        order = part.undo or ("newest_first" if order == "side_by_side" else order)
    return order


def partly(outline: Outline) -> bool:
    """Whether a part of it may be undone for itself, while the others go on or have yet to follow."""
    composites = [part for part in outline.nodes.values() if isinstance(part, Composite)]
    return any(part.wins or (part.alternatives and not part.questions) for part in composites)


def newer(order: Sequence[frozenset[str]], path: str) -> frozenset[str]:
    """The leaves that were accepted after this one."""
    groups = (group for place, group in enumerate(order) if any(path in old for old in order[:place]))
    return frozenset(one for group in groups for one in group)


def undone_with(outline: Outline, instance: Instance, path: str) -> str:
    """The node that is undone for itself, this leaf among it, while the saga goes on; nothing where all of it is."""
    if instance.backward:
        return ""
    around = [part.path for part in outline.nodes.values() if stands_in(path, part.path)]
    turning = [one for one in around if (state := instance.state(one)).lost or state.choice == "undoing"]
    return turning[-1] if turning else ""


# --- which undo waits for which ---------------------------------------------------------------------------------------


def waits(outline: Outline, one: str, other: str) -> bool:
    """Whether the undo of the first leaf waits for that of the second, where this is the newer one."""
    first = outline.leaves[one]
    if isinstance(first, Commanded) and first.existing:
        return True
    order = outline.undo
    both = (part for part in outline.parts if holds_leaf(part, one) and holds_leaf(part, other))
    while isinstance(around := next(both, None), Composite):  # else it is one leaf, in two items of a loop
        order = around.undo or order
        limbs = [limb.parts for limb in around.limbs if any(holds_leaf(part, one) for part in limb.parts)]
        together = [limb for limb in limbs if any(holds_leaf(part, other) for part in limb)]
        if not together:
            return order == "newest_first"
        if order == "side_by_side":
            order = "newest_first"
        if around.kind == "repeat" and item_around(one) != item_around(other) and order == "by_dependency":
            return True
        both = (part for part in together[0] if holds_leaf(part, one) and holds_leaf(part, other))
    return order == "newest_first" or (order == "by_dependency" and asked(outline, other, one))


def asked(outline: Outline, leaf: str, step: str) -> bool:
    """Whether a reply of the step went into this leaf: its own functions asked for it, or those that decided whether
    there is to be such a leaf, or those of something between the two that leaves nothing to undo."""
    around = [part for part in outline.nodes.values() if isinstance(part, Composite) and stands_in(leaf, part.path)]
    own = outline.leaves[leaf]
    functions: list[PureFunction] = [*own.builders, *(one for part in around for one in part.questions)]
    functions += [part.loop.asked for part in around if part.loop and not stands_in(step, part.path)]
    if any(_is_reply_of(need, step, leaf) for function in functions for need in function.needs):
        return True
    paths = list(outline.leaves)
    between = {*paths[paths.index(step) + 1 : paths.index(leaf)]}
    checks = [one.path for one in outline.commands if not one.undo and one.path in between]
    return any(asked(outline, leaf, check) and asked(outline, check, step) for check in checks)


def _is_reply_of(need: Need, step: str, leaf: str) -> bool:
    return need.source == "reply" and (
        same_item(need.step, leaf) == step or (need.step.replace("[-1]", "[]") == declared(step))
    )

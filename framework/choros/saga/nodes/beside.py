"""What all nodes have in common in which several may be under way at a time: none holds another, and on the way back
the newest of all is the next, whichever of them that is in; or each goes back by itself."""

from collections.abc import Mapping, Sequence

from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.nodes.sequence import SequenceNode
from choros.saga.outline import Composite
from choros.saga.paths import declared, in_item, item_around

MOST_UNDONE = 100
"""Items that are undone at a time: what is under way stands in the saga's record, which each answer writes again."""


def undo_newest_first(turn: Turn, node: Composite) -> bool:
    """The newest of all that stands in it, then the one before it."""
    if turn.state(node.path).progress == "pending":
        return True
    own = _own(node)
    for path in turn.newest_first(node.path):
        leaf = _leaf(own, path) if path.startswith((f"{node.path}.", f"{node.path}[")) else None
        if leaf and not leaf.backward(turn):
            return False
    return True


def undo_ways(turn: Turn, ways: Sequence[Node]) -> bool:
    """Each way by itself: one that waits, or cannot be undone, holds none of the others."""
    turn.count()
    turn.want(way.path for way in ways)
    undone = [turn.attempt(way.backward) for way in ways]
    return all(undone)


def undo_items(turn: Turn, node: Composite, way: SequenceNode, most: int = MOST_UNDONE) -> bool:
    """Each item by itself, the newest first, so many at a time."""
    if turn.state(node.path).progress in ("pending", "undone"):
        return True
    turn.count()
    begun = (f"{node.path}[{index}]" for index in reversed(turn.open_items(node.path)))
    open_ = [item for item in begun if not _is_undone(turn, item, way)]
    while len(open_) < most and (items := _next_items(turn, node, most - len(open_))):
        open_ += [item for item in items if not _is_undone(turn, item, way)]
    if not open_:
        turn.change_node(node.path, progress="undone")
    return not open_


def _next_items(turn: Turn, node: Composite, most: int) -> list[str]:
    """The newest that nobody has come to on the way back; those that were open then were among the first."""
    state = turn.state(node.path)
    left = (state.left or state.begun + 1) - 1
    items = [f"{node.path}[{index}]" for index in range(left - 1, max(-1, left - 1 - most), -1)]
    turn.want(path for item in items for path in (item, *(in_item(leaf.path, item) for leaf in node.leaves)))
    turn.change_node(node.path, left=left - len(items) + 1)
    over = [item for item in items if turn.state(item).progress == "ok"]
    for item in over:
        turn.change_node(item, progress="entered")
    return over if over or not items else _next_items(turn, node, most)


def _is_undone(turn: Turn, item: str, way: SequenceNode) -> bool:
    undone = turn.attempt(way.within(item).backward)
    if undone:
        turn.change_node(item, progress="undone")
    return undone


def newest_of(node: Composite, states: States) -> str | None:
    """The newest leaf in it that is not undone."""
    own = _own(node)
    numbered = sorted(((state.number, path) for path, state in states.items() if state.number), reverse=True)
    leaves = (leaf for _, path in numbered if (leaf := _leaf(own, path)))
    return next((at for leaf in leaves if (at := leaf.at_work(states, True)) is not None), None)


def _own(node: Composite) -> Mapping[str, Node]:
    return {leaf.path: leaf for leaf in node.leaves if isinstance(leaf, Node)}


def _leaf(own: Mapping[str, Node], path: str) -> Node | None:
    leaf = own.get(declared(path))
    return leaf and leaf.within(item_around(path))

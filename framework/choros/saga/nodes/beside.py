"""What all nodes have in common in which several may be under way at a time: none holds another, and on the way back
the newest of all is the next, whichever of them that is in."""

from collections.abc import Mapping

from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.outline import Composite
from choros.saga.paths import declared, item_around


def undo_newest_first(turn: Turn, node: Composite) -> bool:
    """The newest of all that stands in it, then the one before it."""
    if turn.state(node.path).progress == "pending":
        return True
    own = _own(node)
    for path in turn.newest_first(turn.state(node.path).number):
        leaf = _leaf(own, path) if path.startswith((f"{node.path}.", f"{node.path}[")) else None
        if leaf and not leaf.backward(turn):
            return False
    return True


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

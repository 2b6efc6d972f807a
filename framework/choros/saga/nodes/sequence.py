"""Nodes one after the other; undone, the newest first. A saga's own steps are one."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from choros.errors import DeclarationError
from choros.messages import Reply
from choros.saga.checks import is_function, shown
from choros.saga.machine.instance import ROOT, UNTOUCHED, States
from choros.saga.machine.turn import Node, Turn
from choros.saga.outline import Commanded, Declared, Leaf, NodePlace
from choros.saga.parameters import Known

_AT_ONCE = 32
"""Of nodes that are over, and stored apart, so many are asked for together on the way back."""


@dataclass(frozen=True, slots=True)
class SequenceNode(Node):
    """The node, and the ways through it."""

    nodes: tuple[Node, ...]
    path: str = ROOT

    def forward(self, turn: Turn) -> bool:
        """Each when the one before it is over. Those before the last that it has come to are."""
        last, *rest = self.nodes[self._last(turn.has_come) :]
        return last.forward(turn) and all(self._reached(turn, node) for node in rest)

    def _reached(self, turn: Turn, node: Node) -> bool:
        turn.reach(node.path)
        return node.forward(turn)

    def backward(self, turn: Turn) -> bool:
        """Each when the one behind it is undone."""
        return all(self._undone(turn, place) for place in range(self._last(turn.has_come), -1, -1))

    def _undone(self, turn: Turn, place: int) -> bool:
        turn.want(node.path for node in self.nodes[place - place % _AT_ONCE : place + 1])
        return self.nodes[place].backward(turn)

    def at_work(self, states: States, backward: bool) -> str | None:
        """The first that is not over, or the newest that is not undone."""
        last = self._last(lambda path: states.of(path) is not UNTOUCHED)
        nodes = reversed(self.nodes[: last + 1]) if backward else self.nodes[last:]
        return next((at for node in nodes if (at := node.at_work(states, backward)) is not None), None)

    def _last(self, has_come: Callable[[str], bool]) -> int:
        """The place of the last node that the saga has come to."""
        places = range(len(self.nodes) - 1, 0, -1)
        return next((place for place in places if has_come(self.nodes[place].path)), 0)


def plan_sequence(known: Known, steps: Sequence[object]) -> tuple[SequenceNode, Mapping[str, Leaf]]:
    """Read and check the steps of a saga: the tree, and its leaves by path. Raises DeclarationError."""
    declared = list(_declared(known.saga, steps))
    names = _names(known.saga, declared)
    pivot = _pivot(known.saga, declared, names)
    passed = len(names) if pivot is None else pivot
    places = [NodePlace(name, known, pivot is not None, number > passed) for number, name in enumerate(names)]
    for node, place in zip(declared, places, strict=True):
        node.check_place(place)
    leaves: list[Leaf] = []
    for node, place in zip(declared, places, strict=True):
        leaves.append(node.planned(replace(place, known=known)))
        known = replace(known, replies=(*known.replies, *replies_of(leaves[-1:])))
    nodes = tuple(leaf for leaf in leaves if isinstance(leaf, Node))
    return SequenceNode(nodes), {leaf.path: leaf for leaf in leaves}


def replies_of(leaves: Iterable[Leaf]) -> tuple[tuple[str, type[Reply]], ...]:
    """What is known when these are over."""
    return tuple((leaf.path, leaf.reply_type) for leaf in leaves if isinstance(leaf, Commanded))


def _declared(saga: str, steps: Sequence[object]) -> Iterator[Declared]:
    """Whether all are steps, and one of them commands somebody."""
    commands = False
    for node in steps:
        if not isinstance(node, Declared):
            raise DeclarationError(f"saga {saga!r}: {shown(node)} is no step.", _wrapped(node))
        commands = commands or node.commands
        yield node
    if not commands:
        raise DeclarationError(f"saga {saga!r} commands nobody.", "give it at least one Step, Pivot or Retriable.")


def _wrapped(node: object) -> str:
    if is_function(node):
        return f"wrap the function: Step({node.__name__}, to='...', compensation=...)."
    return "use Step, Pivot, Retriable or Publish."


def _names(saga: str, nodes: Sequence[Declared]) -> list[str]:
    names = [node.named(saga) for node in nodes]
    for name, count in Counter(names).items():
        if count > 1:
            raise DeclarationError(f"saga {saga!r}: two steps are called {name}.", "give one of them name='...'.")
    return names


def _pivot(saga: str, nodes: Sequence[Declared], names: Sequence[str]) -> int | None:
    """The place of the pivot, if there is one."""
    pivots = [number for number, node in enumerate(nodes) if node.pivot]
    if len(pivots) > 1:
        raise DeclarationError(
            f"saga {saga!r} has two pivots, {names[pivots[0]]} and {names[pivots[1]]}.",
            "keep one; what follows it is Retriable.",
        )
    return pivots[0] if pivots else None

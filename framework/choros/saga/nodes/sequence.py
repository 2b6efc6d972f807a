"""Nodes one after the other; undone, the newest first, or as they are told to be. A saga's own steps are one, and so is
each way through a node that has others within it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from choros.errors import DeclarationError
from choros.saga.checks import is_function, shown
from choros.saga.lambdas import lambdas_of
from choros.saga.machine.instance import ROOT, States
from choros.saga.machine.turn import AT_ONCE, Node, Turn
from choros.saga.orders import FREE, UndoOrder
from choros.saga.outline import Commanded, Declared, SagaPart
from choros.saga.parameters import Known, NodePlace
from choros.saga.paths import in_item

LONGEST_PATH = 200
"""Characters: it is part of every command key."""
_INDEX_DIGITS = 7


@dataclass(frozen=True, slots=True)
class SequenceNode(Node):
    """The node, and the ways through it."""

    nodes: tuple[Node, ...]
    path: str = ROOT
    undo: UndoOrder = "newest_first"
    places: dict[str, int] = field(init=False, repr=False, compare=False)
    """That of each node, by its path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {node.path: place for place, node in enumerate(self.nodes)})

    def within(self, item: str) -> Self:
        """All of them in it."""
        return replace(self, nodes=tuple(node.within(item) for node in self.nodes), path=in_item(self.path, item))

    def enter(self, turn: Turn) -> None:
        """The saga comes to it for the first time."""
        turn.reach(self.nodes[0].path)

    def forward(self, turn: Turn) -> bool:
        """Each when the one before it is over. Those before the last that it has come to are."""
        last, *rest = self.nodes[turn.last_of(self.places) :]
        return last.forward(turn) and all(self._reached(turn, node) for node in rest)

    def _reached(self, turn: Turn, node: Node) -> bool:
        turn.reach(node.path)
        return node.forward(turn)

    def backward(self, turn: Turn) -> bool:
        """Each when the one behind it is undone; or when nothing needs it any more."""
        if self.path != ROOT or turn.turning:  # then what stands apart may be newer than all that does not
            turn.want(node.path for node in self.nodes[turn.last_of(self.places) + 1 :])
        last = turn.last_of(self.places)
        if self.undo in FREE:
            return self._freely(turn, self.nodes[last::-1])
        return all(self._undone(turn, place) for place in range(last, -1, -1))

    def _freely(self, turn: Turn, nodes: Sequence[Node]) -> bool:
        """But what was there before the saga is the last of all."""
        turn.count()
        turn.want(node.path for node in nodes)
        undone = True
        for node in nodes:
            if isinstance(node, Commanded) and node.existing and not undone:
                return False
            undone = turn.attempt(node.backward) and undone
        return undone

    def _undone(self, turn: Turn, place: int) -> bool:
        turn.want(node.path for node in self.nodes[place - place % AT_ONCE : place + 1])
        return self.nodes[place].backward(turn)

    def at_work(self, states: States, backward: bool) -> str | None:
        """The first that is not over, or the newest that is not undone."""
        last = states.last_of(self.places)
        nodes = reversed(self.nodes[: last + 1]) if backward else self.nodes[last:]
        return next((at for node in nodes if (at := node.at_work(states, backward)) is not None), None)


@dataclass(frozen=True, slots=True)
class PlannedSequence:
    """What has become of several declared nodes, one behind the other."""

    node: SequenceNode
    parts: tuple[SagaPart, ...]
    known: Known
    """What is known when they are over."""


def plan_sequence(place: NodePlace, steps: Sequence[object]) -> PlannedSequence:
    """Read and check nodes that stand one behind the other, in the node that stands at this place; raises
    DeclarationError."""
    nodes = list(declared_nodes(place.saga, steps))
    names = _names(place.saga, nodes)
    pivot = _pivot(place.saga, nodes, names)
    places = [
        replace(place, path=place.inside(name), passed=place.passed or (pivot is not None and number > pivot))
        for number, name in enumerate(names)
    ]
    for node, one in zip(nodes, places, strict=True):
        _check_length(one)
        with lambdas_of(one.path):
            node.check_place(one)
    parts, known = [], place.known
    for node, one in zip(nodes, places, strict=True):
        with lambdas_of(one.path):
            parts.append(node.planned(replace(one, known=known)))
        known = parts[-1].after(known)
    planned = tuple(part for part in parts if isinstance(part, Node))
    return PlannedSequence(SequenceNode(planned, place.path, place.undo), tuple(parts), known)


def plan_saga(known: Known, steps: Sequence[object], undo: UndoOrder) -> PlannedSequence:
    """The steps of a saga; raises DeclarationError, also where they command nobody."""
    nodes = list(declared_nodes(known.saga, steps))
    planned = plan_sequence(NodePlace(ROOT, known, any(node.pivot for node in nodes), passed=False, undo=undo), nodes)
    if not any(node.commands for node in nodes):
        raise DeclarationError(
            f"saga {known.saga!r} commands nobody.", "give it at least one Step, Pivot or Retriable."
        )
    return planned


def declared_nodes(saga: str, steps: Sequence[object]) -> Iterator[Declared]:
    """The nodes among these; raises DeclarationError for what is none."""
    for node in steps:
        if not isinstance(node, Declared):
            raise DeclarationError(f"saga {saga!r}: {shown(node)} is no step.", _wrapped(node))
        yield node


def _wrapped(node: object) -> str:
    if is_function(node):
        return f"wrap the function: Step({node.__name__}, to='...', compensation=...)."
    return "use Step, Pivot, Retriable or Publish."


def _names(saga: str, nodes: Sequence[Declared]) -> list[str]:
    names = []
    for node in nodes:
        with lambdas_of(f"a {type(node).__name__}"):
            names.append(node.named(saga))
    check_unlike(saga, names)
    return names


def check_unlike(saga: str, names: Sequence[str]) -> None:
    """Raises DeclarationError where two are the same."""
    for name, count in Counter(names).items():
        if count > 1:
            raise DeclarationError(f"saga {saga!r}: two steps are called {name}.", "give one of them name='...'.")


def _pivot(saga: str, nodes: Sequence[Declared], names: Sequence[str]) -> int | None:
    """The place of the pivot, if there is one."""
    pivots = [number for number, node in enumerate(nodes) if node.pivot]
    if len(pivots) > 1:
        raise DeclarationError(
            f"saga {saga!r} has two pivots, {names[pivots[0]]} and {names[pivots[1]]}.",
            "keep one; what follows it is Retriable.",
        )
    return pivots[0] if pivots else None


def _check_length(place: NodePlace) -> None:
    longest = len(place.path) + _INDEX_DIGITS * place.path.count("[]")
    if longest > LONGEST_PATH:
        raise DeclarationError(
            f"{place.where} has a path of up to {longest} characters; {LONGEST_PATH} fit into a command key.",
            "give what it stands in shorter names: name='...'.",
        )

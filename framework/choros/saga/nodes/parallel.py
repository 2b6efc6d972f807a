"""Nodes side by side: over when all of them are. Undone one by one, the newest first, whichever of them that is in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from choros.errors import DeclarationError
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.nodes.beside import goes_on, newest_of, undo_newest_first
from choros.saga.nodes.sequence import check_unlike, declared_nodes, plan_sequence
from choros.saga.outline import Composite, Declared, Limb, NodePlace
from choros.saga.paths import in_item


class Parallel(Declared):
    """Nodes that are under way at the same time: `Parallel(Step(...), Branch("hotel", Step(...), Step(...)))`.

    It is over when all of them are. Refused in one of them, all is undone, the newest first; what the others are still
    doing may happen, so it is undone too. What they reply with is known behind it.
    """

    __slots__ = ("branches", "name")

    def __init__(self, *branches: Declared, name: str = "parallel") -> None:
        self.branches: tuple[Declared, ...] = branches
        self.name: str = name
        """SagaPart of every command key in it, so it must not change."""

    def __repr__(self) -> str:
        return f"Parallel(name={self.name!r})"

    @property
    def called(self) -> str:
        """It has no function, and so a name of its own."""
        return self.name

    @property
    def commands(self) -> bool:
        """Whether it commands somebody."""
        return any(node.commands for node in self.branches)

    def check(self, saga: str) -> None:
        """Whether there are nodes in it, and no pivot: the saga must not be half committed while others are open."""
        if len(self.branches) < 2:
            raise DeclarationError(
                f"saga {saga!r}: {self.name} has {'one branch' if self.branches else 'nothing'} to run side by side.",
                "give it two nodes or more: Parallel(Step(...), Step(...)).",
            )
        if any(node.pivot for node in declared_nodes(saga, self.branches)):
            raise DeclarationError(
                f"saga {saga!r}: there is a pivot in {self.name}, while other steps of it may still be under way.",
                "put the pivot before or behind it.",
            )

    def planned(self, place: NodePlace) -> ParallelNode:
        """Each knows what is known here, and nothing of the others."""
        plans = [plan_sequence(place, [branch]) for branch in self.branches]
        ways = tuple(plan.node.nodes[0] for plan in plans)
        check_unlike(place.saga, [way.path for way in ways])
        limbs = tuple(Limb(way.path.rpartition(".")[2], plan.parts) for way, plan in zip(ways, plans, strict=True))
        return ParallelNode(path=place.path, kind="parallel", limbs=limbs, ways=ways)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelNode(Composite, Node):
    """The node, and the ways through it."""

    ways: tuple[Node, ...] = field(repr=False)
    """The branches: one of a single node is that node itself."""

    def within(self, item: str) -> Self:
        """All branches in it."""
        return replace(self, path=in_item(self.path, item), ways=tuple(way.within(item) for way in self.ways))

    def forward(self, turn: Turn) -> bool:
        """All that are open; those that are over are not looked at."""
        if turn.state(self.path).progress == "ok":
            return True
        if turn.state(self.path).progress == "pending":
            self._enter(turn)
        over = [self._is_over(turn, way) for way in self.ways]
        if not all(over):
            return False
        turn.change_node(self.path, progress="ok")
        return True

    def _enter(self, turn: Turn) -> None:
        turn.count()
        turn.change_node(self.path, progress="entered")
        turn.accept(self.path)
        for way in self.ways:
            way.enter(turn)

    def _is_over(self, turn: Turn, way: Node) -> bool:
        return turn.lies_apart(way.path) or goes_on(turn, way)

    def backward(self, turn: Turn) -> bool:
        """The newest of all, then the one before it."""
        return undo_newest_first(turn, self)

    def at_work(self, states: States, backward: bool) -> str | None:
        """The first that is next; on the way back the newest."""
        if not backward:
            if states.of(self.path).progress == "ok":
                return None
            return next((at for way in self.ways if (at := way.at_work(states, backward)) is not None), self.path)
        return newest_of(self, states)

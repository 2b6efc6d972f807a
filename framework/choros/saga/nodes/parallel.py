"""Nodes side by side: over when all of them are, or enough. Undone one by one, the newest first, whichever of them that
is in, or each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from choros.errors import DeclarationError
from choros.saga.checks import shown
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.nodes.beside import newest_of, undo_newest_first, undo_ways
from choros.saga.nodes.sequence import check_unlike, declared_nodes, plan_sequence
from choros.saga.orders import UndoOrder, within
from choros.saga.outline import Composite, Declared, Limb
from choros.saga.parameters import Known, NodePlace
from choros.saga.paths import in_item, stands_in
from choros.saga.undo_order import check_undo, order_in


class Parallel(Declared):
    """Nodes that are under way at the same time: `Parallel(Step(...), Branch("hotel", Step(...), Step(...)))`.

    It is over when all of them are. Refused in one of them, all is undone, the newest first; what the others are still
    doing may happen, so it is undone too. What they reply with is known behind it.

    `at_least`: so many have to succeed. One that does not is undone by itself, and the saga goes on as long as enough
    can; the others are waited for. `first`: when so many have succeeded, the saga goes on at once, and the others lose:
    they are undone beside it, and before the pivot. With either, no reply is sure behind it: ask for `Reply | None`.

    `undo`: "newest_first" over all branches; "side_by_side", where no branch waits for another; "by_dependency" or
    "at_once", where that is true within each branch, too. Without it, as what it stands in.
    """

    __slots__ = ("at_least", "branches", "first", "name", "undo")

    def __init__(
        self,
        *branches: Declared,
        at_least: int | None = None,
        first: int | None = None,
        undo: UndoOrder | None = None,
        name: str = "parallel",
    ) -> None:
        self.branches: tuple[Declared, ...] = branches
        self.at_least: int | None = at_least
        self.first: int | None = first
        self.undo: UndoOrder | None = undo
        self.name: str = name
        """Part of every command key in it, so it must not change."""

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
        check_undo(f"saga {saga!r}: {self.name}", self.undo, ways=True)
        self._check_join(f"saga {saga!r}: {self.name}")

    def _check_join(self, where: str) -> None:
        if self.at_least is not None and self.first is not None:
            raise DeclarationError(f"{where} has at_least and first.", "give it one of the two.")
        joins: Sequence[tuple[str, object]] = (("at_least", self.at_least), ("first", self.first))
        for name, count in joins:
            if count is not None and (not isinstance(count, int) or not 1 <= count < len(self.branches)):
                raise DeclarationError(
                    f"{where} has {name}={shown(count)} and {len(self.branches)} branches.",
                    f"give a number from 1 to {len(self.branches) - 1}; without one, all have to succeed.",
                )

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot nothing is undone, so nobody can lose there."""
        if place.passed and self._join:
            raise DeclarationError(
                f"{place.where} may leave some of its branches undone, but stands after the pivot.",
                "move it before the pivot, or let all succeed.",
            )

    @property
    def _join(self) -> str:
        if self.first is not None:
            return f"first {self.first}"
        return "" if self.at_least is None else f"at least {self.at_least}"

    def planned(self, place: NodePlace) -> ParallelNode:
        """Each knows what is known here, and nothing of the others."""
        undo = order_in(place, self.undo)
        place = replace(place, undo=within(undo), counted=place.path if undo == "newest_first" else "")
        plans = [plan_sequence(place, [branch]) for branch in self.branches]
        ways = tuple(plan.node.nodes[0] for plan in plans)
        check_unlike(place.saga, [way.path for way in ways])
        limbs = tuple(Limb(way.path.rpartition(".")[2], plan.parts) for way, plan in zip(ways, plans, strict=True))
        wins = next((count for count in (self.first, self.at_least) if count is not None), 0)
        join = self._join
        kind = ParallelNode if not join else RaceNode if self.first else QuorumNode
        return kind(
            path=place.path, kind="parallel", limbs=limbs, ways=ways, wins=wins, join=join,
            undo=self.undo, order=undo,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelNode(Composite, Node):
    """The node, and the ways through it, where all have to succeed."""

    ways: tuple[Node, ...] = field(repr=False)
    """The branches: one of a single node is that node itself."""
    order: UndoOrder
    """In which order it is undone."""

    def within(self, item: str) -> Self:
        """All branches in it."""
        return replace(self, path=in_item(self.path, item), ways=tuple(way.within(item) for way in self.ways))

    def forward(self, turn: Turn) -> bool:
        """All that are open; those that are over are not looked at."""
        if turn.state(self.path).progress == "ok":
            return True
        if turn.state(self.path).progress == "pending":
            self._enter(turn)
        over = [way for way in self.ways if self._is_over(turn, way)]
        if not self._joins(turn, over):
            return False
        turn.change_node(self.path, progress="ok")
        return True

    def _enter(self, turn: Turn) -> None:
        turn.count()
        turn.change_node(self.path, progress="entered")
        turn.accept(self.path)
        for way in self.ways:
            way.enter(turn)

    def _joins(self, turn: Turn, over: Sequence[Node]) -> bool:
        """Whether the saga goes on."""
        return len(over) == len(self.ways)

    def _is_over(self, turn: Turn, way: Node) -> bool:
        return turn.lies_apart(way.path) or turn.attempt(way.forward)

    def backward(self, turn: Turn) -> bool:
        """The newest of all, then the one before it; or each branch by itself."""
        return undo_newest_first(turn, self) if self.order == "newest_first" else undo_ways(turn, self.ways)

    @property
    def _nodes(self) -> Mapping[str, Node]:
        """All in it, by their paths."""
        return {part.path: part for part in self.parts if isinstance(part, Node)}

    def at_work(self, states: States, backward: bool) -> str | None:
        """The first that is next; on the way back the newest."""
        if not backward:
            if states.of(self.path).progress == "ok":
                return None
            return next((at for way in self.ways if (at := way.at_work(states, backward)) is not None), self.path)
        return newest_of(self, states)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumNode(ParallelNode):
    """Where enough have to succeed, and all are waited for."""

    def after(self, known: Known) -> Known:
        """Nobody can be sure of any reply."""
        return self.perhaps(known)

    def catches(self, turn: Turn, path: str) -> bool:
        """One that fails is undone by itself, if enough can still succeed."""
        left = [way for way in self.ways if not turn.state(way.path).lost]
        if turn.state(self.path).progress != "entered" or len(left) <= self.wins:
            return False
        turn.lose(next(way.path for way in left if stands_in(path, way.path)), self._nodes)
        return True

    def _is_over(self, turn: Turn, way: Node) -> bool:
        return not turn.state(way.path).lost and ParallelNode._is_over(self, turn, way)

    def _joins(self, turn: Turn, over: Sequence[Node]) -> bool:
        """When nobody is under way any more."""
        return all(way in over or turn.state(way.path).lost for way in self.ways)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceNode(QuorumNode):
    """Where the first win, and the others lose."""

    def _joins(self, turn: Turn, over: Sequence[Node]) -> bool:
        """When enough have won: of two in one batch, whose answer was applied first."""
        if len(over) < self.wins:
            return False
        winners = sorted(over, key=lambda way: self._won_at(turn, way))[: self.wins]
        for way in self.ways:
            if way not in winners and not turn.state(way.path).lost:
                turn.lose(way.path, self._nodes)
        return True

    def _won_at(self, turn: Turn, way: Node) -> int:
        return max(state.number for path, state in turn.states() if stands_in(path, way.path))

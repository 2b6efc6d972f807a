"""A part of a saga that is undone by itself: where it does not succeed, the saga goes on another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from choros.errors import DeclarationError
from choros.saga.checks import listed
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.nodes.sequence import SequenceNode, check_unlike, declared_nodes, plan_sequence
from choros.saga.orders import UndoOrder
from choros.saga.outline import Composite, Declared, Limb
from choros.saga.parameters import Known, NodePlace
from choros.saga.paths import in_item
from choros.saga.undo_order import check_undo, order_in

TRIED, OTHERWISE, UNDOING = "tried", "otherwise", "undoing"


class Scope(Declared):
    """Nodes that are tried: `Scope(Step(...), Step(...), otherwise=[Step(...)])`.

    Where one of them is refused, or its retries are used up, those in the scope are undone, the newest first, and the
    saga goes on with `otherwise`, or behind the scope where there is none. What stands before the scope stays. A
    cancel, and the saga's deadline, undo the whole saga. What either way replies with is known behind it as `Reply |
    None`.

    `undo`: "newest_first", "by_dependency" or "at_once"; without it, as what it stands in.
    """

    __slots__ = ("name", "nodes", "otherwise", "undo")

    def __init__(
        self,
        *nodes: Declared,
        otherwise: Declared | Sequence[Declared] = (),
        undo: UndoOrder | None = None,
        name: str = "scope",
    ) -> None:
        self.nodes: tuple[Declared, ...] = nodes
        self.otherwise: tuple[Declared, ...] = _several(otherwise)
        self.undo: UndoOrder | None = undo
        self.name: str = name
        """Part of every command key in it, so it must not change."""

    def __repr__(self) -> str:
        return f"Scope(name={self.name!r})"

    @property
    def called(self) -> str:
        """It has no function, and so a name of its own."""
        return self.name

    @property
    def commands(self) -> bool:
        """Whether it commands somebody."""
        return any(node.commands for node in (*self.nodes, *self.otherwise))

    def check(self, saga: str) -> None:
        """Whether there is something in it that can be undone."""
        if not self.nodes:
            raise DeclarationError(f"saga {saga!r}: there is nothing in {self.name} to try.", "give it a node or more.")
        if any(node.pivot for node in declared_nodes(saga, (*self.nodes, *self.otherwise))):
            raise DeclarationError(
                f"saga {saga!r}: there is a pivot in {self.name}, which may be undone while the saga goes on.",
                "put the pivot behind it.",
            )
        check_undo(f"saga {saga!r}: {self.name}", self.undo)

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot nothing is undone."""
        if place.passed:
            raise DeclarationError(
                f"{place.where} may be undone, but stands after the pivot.", "move it before the pivot."
            )

    def planned(self, place: NodePlace) -> ScopeNode:
        """The other way may ask for what the first one replied with, which may not be known."""
        place = replace(place, undo=order_in(place, self.undo))
        tried = plan_sequence(place, self.nodes)
        limbs = [Limb(TRIED, tried.parts)]
        other = None
        if self.otherwise:
            behind = _perhaps(place.known, tried.known)
            other = plan_sequence(replace(place, known=behind), self.otherwise)
            limbs.append(Limb(OTHERWISE, other.parts))
        check_unlike(place.saga, [part.path for limb in limbs for part in limb.parts])
        return ScopeNode(
            path=place.path, kind="scope", limbs=tuple(limbs), alternatives=True, undo=self.undo,
            tried=tried.node, other=other.node if other else None,
        )  # fmt: skip


def _several(nodes: object) -> tuple[Any, ...]:
    return (nodes,) if isinstance(nodes, Declared) else listed("Scope: otherwise", nodes)


def _perhaps(before: Known, after: Known) -> Known:
    """What is known behind nodes of which nobody can be sure."""
    new = after.replies[len(before.replies) :]
    return replace(before, maybe=(*after.maybe, *new))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeNode(Composite, Node):
    """The node, and the ways through it."""

    tried: SequenceNode = field(repr=False)
    other: SequenceNode | None = field(repr=False)

    def after(self, known: Known) -> Known:
        """Of neither way's replies anybody can be sure."""
        return self.perhaps(known)

    def within(self, item: str) -> Self:
        """Both ways in it."""
        other = self.other and self.other.within(item)
        return replace(self, path=in_item(self.path, item), tried=self.tried.within(item), other=other)

    def forward(self, turn: Turn) -> bool:
        """What is tried; once that is undone, the other way."""
        state = turn.state(self.path)
        if state.progress == "ok":
            return True
        if state.progress == "pending":
            turn.change_node(self.path, progress="entered", choice=TRIED)
            self.tried.enter(turn)
        if turn.state(self.path).choice == UNDOING and turn.undo_part(self.path, self.tried.backward):
            self._go_the_other_way(turn)
        if not self._is_over(turn, turn.state(self.path).choice):
            return False
        turn.change_node(self.path, progress="ok")
        return True

    def _go_the_other_way(self, turn: Turn) -> None:
        turn.change_node(self.path, choice=OTHERWISE)
        turn.note("chosen", self.path, code=OTHERWISE)
        if self.other:
            self.other.enter(turn)

    def _is_over(self, turn: Turn, choice: str) -> bool:
        if choice == OTHERWISE:
            return self.other is None or self.other.forward(turn)
        return choice == TRIED and self.tried.forward(turn)

    def catches(self, turn: Turn, path: str) -> bool:
        """Whatever fails in what is tried."""
        state = turn.state(self.path)
        if state.progress != "entered" or state.choice != TRIED:
            return False
        turn.turn(self._tried_nodes, self.path)
        turn.change_node(self.path, choice=UNDOING)
        turn.note("undoing", self.path)
        return True

    @property
    def _tried_nodes(self) -> Mapping[str, Node]:
        inside = Composite(path=self.path, kind=self.kind, limbs=self.limbs[:1])
        return {part.path: part for part in inside.parts if isinstance(part, Node)}

    def backward(self, turn: Turn) -> bool:
        """The way that was taken last, then what was tried, as far as that still stands."""
        choice = turn.state(self.path).choice
        if choice == OTHERWISE and self.other and not self.other.backward(turn):
            return False
        return not choice or self.tried.backward(turn)

    def at_work(self, states: States, backward: bool) -> str | None:
        """What is next on the way that is taken."""
        own = states.of(self.path)
        if own.progress == "pending" or (own.progress == "ok" and not backward):
            return None if backward or own.progress == "ok" else self.path
        way = self.other if own.choice == OTHERWISE else self.tried
        back = backward or own.choice == UNDOING
        at = way.at_work(states, back) if way else None
        return at or (None if backward else self.path)

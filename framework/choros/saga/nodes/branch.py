"""Nodes one after the other under a name of their own: a way through a `Parallel` that has several."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from choros.errors import DeclarationError
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.nodes.composed import Composed
from choros.saga.nodes.sequence import SequenceNode, declared_nodes, plan_sequence
from choros.saga.orders import UndoOrder
from choros.saga.outline import Composite, Declared, Limb
from choros.saga.parameters import NodePlace
from choros.saga.paths import in_item
from choros.saga.undo_order import check_undo, order_in


class Branch(Composed):
    """Nodes one after the other, beside others: `Branch("hotel", Step(...), Step(...))`.

    `undo`: "newest_first", "by_dependency" or "at_once"; without it, as what it stands in."""

    __slots__ = ("name", "nodes", "undo")

    def __init__(self, name: str, *nodes: Declared, undo: UndoOrder | None = None) -> None:
        self.name: str = name
        """SagaPart of every command key in it, so it must not change."""
        self.nodes: tuple[Declared, ...] = nodes
        self.undo: UndoOrder | None = undo

    def __repr__(self) -> str:
        return f"Branch({self.name!r}, ...)"

    @property
    def called(self) -> str:
        """It has no function, and so a name of its own."""
        return self.name

    def check(self, saga: str) -> None:
        """Whether there is something in it."""
        if not self.nodes:
            raise DeclarationError(
                f"saga {saga!r}: there is nothing in {self.name}.", "give it a node, or leave it out."
            )
        list(declared_nodes(saga, self.nodes))
        check_undo(f"saga {saga!r}: {self.name}", self.undo)

    def planned(self, place: NodePlace) -> BranchNode:
        """Each knows what those before it reply with."""
        plan = plan_sequence(replace(place, undo=order_in(place, self.undo)), self.nodes)
        limbs = (Limb(self.name, plan.parts),)
        return BranchNode(path=place.path, kind="branch", limbs=limbs, undo=self.undo, way=plan.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchNode(Composite, Node):
    """The node, and the ways through it."""

    way: SequenceNode = field(repr=False)

    def within(self, item: str) -> Self:
        """All of it in that item."""
        return replace(self, path=in_item(self.path, item), way=self.way.within(item))

    def forward(self, turn: Turn) -> bool:
        """Through its nodes; what is over is not looked at again."""
        progress = turn.state(self.path).progress
        if progress == "ok":
            return True
        if progress == "pending":
            turn.change_node(self.path, progress="entered")
            self.way.enter(turn)
        if not self.way.forward(turn):
            return False
        turn.change_node(self.path, progress="ok")
        return True

    def backward(self, turn: Turn) -> bool:
        """Through them."""
        return turn.state(self.path).progress == "pending" or self.way.backward(turn)

    def at_work(self, states: States, backward: bool) -> str | None:
        """What is next in it."""
        over = "pending" if backward else "ok"
        return None if states.of(self.path).progress == over else self.way.at_work(states, backward)

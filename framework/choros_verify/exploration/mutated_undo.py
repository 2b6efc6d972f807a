"""The functions of the orders of undoing with one rule left out."""

from collections.abc import Callable, Sequence
from typing import Any

from choros.saga.machine.turn import Node, Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.sequence import SequenceNode
from choros_verify.exploration.variant import instead_of


@instead_of(SagaWalk.is_needed)
def undo_before_what_needs_it(self: SagaWalk, path: str) -> bool:
    """By dependency nothing waits for what was made with its reply."""
    return False


@instead_of(SequenceNode._freely)
def existing_undone_with_the_others(self: SequenceNode, turn: Turn, nodes: Sequence[Node]) -> bool:
    """What was there before the saga is taken back with all the others, not behind them."""
    turn.count()
    undone = [turn.attempt(node.backward) for node in nodes]
    return all(undone)


@instead_of(Turn._leave)
def one_count_for_all(self: Turn, number: int, inside: str) -> None:
    """What is undone in one of two nodes that go back beside each other counts for the other, too."""
    self.change(accepted=number)


@instead_of(SagaWalk.undo_part)
def part_undone_oldest_first(self: SagaWalk, path: str, way: Callable[[Turn], bool]) -> bool:
    """What is undone while the saga goes on is undone in the order in which it was done."""
    node: Any = self._node(path)
    sequence = getattr(node, "tried", None) or getattr(node, "way", None)
    return all(self.attempt(one.backward) for one in (sequence.nodes if sequence else (node,)))

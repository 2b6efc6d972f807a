"""The functions by which a saga goes on without a part of it, with one rule left out."""

from collections.abc import Mapping, Sequence

from choros.messages import Failure
from choros.saga.machine.turn import Node, Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.commanded import CommandNode
from choros.saga.nodes.parallel import QuorumNode, RaceNode
from choros.saga.nodes.scope import OTHERWISE, UNDOING, ScopeNode
from choros_verify.exploration.variant import instead_of

_LOSE, _TURN_BACK, _TURNED = Turn.lose, SagaWalk.turn_back, CommandNode.turned
_BEGUN, _SCOPE, _CATCHES = CommandNode._begun, ScopeNode.forward, ScopeNode.catches


@instead_of(Turn.lose)
def loser_left_standing(self: Turn, path: str, nodes: Mapping[str, Node]) -> None:
    """A loser is not undone."""
    _LOSE(self, path, nodes)
    self.change_node(path, progress="undone")


@instead_of(RaceNode._joins)
def nobody_loses(self: RaceNode, turn: Turn, over: Sequence[Node]) -> bool:
    """A race is over with its first winner, and the others go on."""
    return len(over) >= self.wins


@instead_of(CommandNode.forward)
def pivot_before_losers_are_undone(self: CommandNode, turn: Turn) -> bool:
    """The pivot is sent while losers are being undone."""
    state = turn.state(self.path)
    if state.leg or state.parked or state.progress != "pending":
        return not (state.leg or state.parked)
    return _BEGUN(self, turn)


@instead_of(QuorumNode.catches)
def any_number_may_fail(self: QuorumNode, turn: Turn, path: str) -> bool:
    """However many fail, the saga goes on without them."""
    if turn.state(self.path).progress != "entered":
        return False
    turn.lose(next(way.path for way in self.ways if path.startswith(way.path)), self._nodes)
    return True


@instead_of(CommandNode.turned)
def undo_of_a_loser_unparked(self: CommandNode, turn: Turn) -> None:
    """An undo that waits for a person is forgotten when the saga turns."""
    state = turn.state(self.path)
    if state.leg and state.parked and state.closes == "undo":
        turn.change_node(self.path, parked="")
    _TURNED(self, turn)


@instead_of(ScopeNode.catches)
def scope_left_standing(self: ScopeNode, turn: Turn, path: str) -> bool:
    """What a scope has tried stays as it is, and the saga goes the other way."""
    caught = _CATCHES(self, turn, path)
    if caught:
        turn.change_node(self.path, choice=OTHERWISE)
    return caught


@instead_of(ScopeNode.forward)
def other_way_at_once(self: ScopeNode, turn: Turn) -> bool:
    """The other way is begun while what was tried is being undone."""
    if turn.state(self.path).choice == UNDOING:
        self.tried.backward(turn)
        return self.other is None or self.other.forward(turn)
    return _SCOPE(self, turn)


@instead_of(ScopeNode.backward)
def scope_undone_by_its_other_way_only(self: ScopeNode, turn: Turn) -> bool:
    """A scope that was still undoing what it had tried counts as undone when the saga turns."""
    return turn.state(self.path).choice == UNDOING or self.tried.backward(turn)


@instead_of(SagaWalk.turn_back)
def scope_catches_a_cancel(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
    """A cancel undoes the innermost scope only, and the saga goes on."""
    _TURN_BACK(self, failure.model_copy(update={"kind": "refused"}), refusal)

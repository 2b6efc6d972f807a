"""The functions of choices and of what is side by side with one rule left out."""

from dataclasses import replace

from choros.messages import Failure
from choros.saga.machine import machine, timers
from choros.saga.machine.inputs import Input, TimerFired
from choros.saga.machine.turn import Node, Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.parallel import ParallelNode
from choros.saga.nodes.when import ChoiceNode
from choros.saga.outline import Publication
from choros_verify.exploration.variant import instead_of

_TURN_BACK, _CHOOSE, _FORWARD = SagaWalk.turn_back, ChoiceNode._choose, ChoiceNode.forward
_APPLY, _TAKE_TIMER = machine._apply, timers.take_timer


@instead_of(SagaWalk.turn_back)
def refused_branch_joined(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
    """A branch that was refused counts as done where the others of it are open, or over."""
    leaf = self.outline.commanded(failure.step)
    if failure.kind != "refused" or leaf is None or "." not in leaf.path:
        _TURN_BACK(self, failure, refusal)
        return
    reply = leaf.command_of(self.state(leaf.path).choice).reply_type.model_construct().to_json()
    self.change_node(leaf.path, progress="ok", reply=reply, leg=None)
    self.accept(leaf.path)
    self.go_on()


@instead_of(SagaWalk.turn_back)
def open_sibling_not_in_doubt(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
    """What is still open beside a branch that fails counts as not done."""
    for path, state in self.states():
        if state.progress == "sent" and path != failure.step:
            self.take_back(path)
            self.change_node(path, progress="refused", leg=None)
    _TURN_BACK(self, failure, refusal)


@instead_of(SagaWalk.turn_back)
def in_doubt_undone_last(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
    """What is open when the saga turns counts as the oldest, not as the newest."""
    _TURN_BACK(self, failure, refusal)
    numbered = {path: state for path, state in self.states() if state.number and self.outline.commanded(path)}
    numbers = sorted(state.number for state in numbered.values())
    oldest_first = sorted(numbered, key=lambda path: (numbered[path].progress != "in_doubt", numbered[path].number))
    for path, number in zip(oldest_first, numbers, strict=True):
        self.change_node(path, number=number)


@instead_of(ParallelNode.backward)
def undo_by_declaration(self: ParallelNode, turn: Turn) -> bool:
    """Branches are undone in the order in which they are declared, not the newest first."""
    return all(way.backward(turn) for way in self.ways)


@instead_of(timers.take_timer)
def unsent_of_one_counts_for_all(walk: SagaWalk, fired: TimerFired) -> None:
    """While one command cannot leave, the silence about another costs no attempt."""
    _TAKE_TIMER(walk, replace(fired, unsent=walk.instance.under_way) if fired.unsent else fired)


@instead_of(machine._apply)
def a_walk_for_each_input(walk: SagaWalk, given: Input) -> None:
    """What is next goes out after each input of a batch, not after all of them."""
    _APPLY(walk, given)
    if walk._goes_on and not (walk.instance.paused or walk.instance.terminal):
        walk._walk()
        walk._goes_on = False


@instead_of(ChoiceNode._choose)
def another_branch(self: ChoiceNode, turn: Turn) -> str:
    """A choice goes by another branch than its questions say."""
    _CHOOSE(self, turn)
    return _other(self, turn)


def _other(choice: ChoiceNode, turn: Turn) -> str:
    names = [limb.name for limb in choice.limbs]
    other = names[names.index(turn.state(choice.path).choice) - 1]
    turn.change_node(choice.path, choice=other)
    if other in choice.branches:
        choice.branches[other].enter(turn)
    return other


@instead_of(ChoiceNode.forward)
def branch_decided_twice(self: ChoiceNode, turn: Turn) -> bool:
    """Whenever the saga comes by, a choice is made anew, and may come out otherwise."""
    if turn.state(self.path).progress == "entered":
        _other(self, turn)
    return _FORWARD(self, turn)


@instead_of(ChoiceNode._choose)
def facts_of_all_branches(self: ChoiceNode, turn: Turn) -> str:
    """The facts of the branches that are not taken are published, too."""
    chosen = _CHOOSE(self, turn)
    for name, branch in self.branches.items():
        for node in branch.nodes:
            if name != chosen and isinstance(node, Publication) and isinstance(node, Node):
                turn.reach(node.path)
                node.forward(turn)
    return chosen

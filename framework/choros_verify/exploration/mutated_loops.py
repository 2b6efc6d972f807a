"""The functions of loops with one rule left out."""

import re
from dataclasses import replace

from choros.saga.machine.inputs import Send
from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.each import EachNode
from choros.saga.nodes.repeat import RepeatNode
from choros.saga.outline import Commanded
from choros_verify.exploration.variant import instead_of

_SEND, _SETTLE = Turn.send, SagaWalk.settle
_EACH, _ENOUGH, _GIVE_UP = EachNode.forward, RepeatNode._is_enough, RepeatNode._give_up
_INDEX = re.compile(r"\[[0-9]+\]")


@instead_of(Turn.send)
def key_without_index(self: Turn, command: Send) -> None:
    """The key of a command in a loop does not say which item, or which time, it is for."""
    _SEND(self, replace(command, key=replace(command.key, path=_INDEX.sub("[0]", command.key.path))))


@instead_of(EachNode.forward)
def items_listed_anew(self: EachNode, turn: Turn) -> bool:
    """Whenever the saga comes by, the items are listed anew, and may be fewer."""
    state = turn.state(self.path)
    if 0 < state.begun < state.items:
        turn.change_node(self.path, items=state.begun)
    return _EACH(self, turn)


@instead_of(EachNode.forward)
def over_with_the_first_item(self: EachNode, turn: Turn) -> bool:
    """A loop is over as soon as one of its items is."""
    over = _EACH(self, turn)
    items = (turn.state(f"{self.path}[{index}]") for index in range(turn.state(self.path).items))
    if not over and any(item.progress == "ok" for item in items):
        turn.change_node(self.path, progress="ok")
        return True
    return over


@instead_of(EachNode.forward)
def all_items_at_once(self: EachNode, turn: Turn) -> bool:
    """All items are begun, however many at a time are allowed."""
    return _EACH(replace(self, at_once=self.limit), turn)


@instead_of(EachNode.backward)
def items_undone_in_their_order(self: EachNode, turn: Turn) -> bool:
    """The items are undone from the first to the last, not the newest first."""
    begun = range(turn.state(self.path).begun)
    return all(self.way.within(f"{self.path}[{index}]").backward(turn) for index in begun)


@instead_of(RepeatNode.backward)
def last_time_undone_only(self: RepeatNode, turn: Turn) -> bool:
    """Of what was done several times, the last time alone is undone."""
    begun = turn.state(self.path).begun
    return begun == 0 or self.way.within(f"{self.path}[{begun - 1}]").backward(turn)


@instead_of(RepeatNode._is_enough)
def answer_not_kept(self: RepeatNode, turn: Turn) -> bool:
    """What the question was answered with is not kept: it is done once more where it was enough."""
    _ENOUGH(self, turn)
    return False


@instead_of(RepeatNode._is_enough)
def enough_after_the_first_time(self: RepeatNode, turn: Turn) -> bool:
    """It counts as enough when it was done once, whatever the question says."""
    _ENOUGH(self, turn)
    return True


@instead_of(RepeatNode._give_up)
def times_not_counted(self: RepeatNode, turn: Turn) -> None:
    """It is done as often as it takes, however often is allowed."""


@instead_of(SagaWalk.settle)
def replies_folded_away(self: SagaWalk, leaf: Commanded, reply: str, skipped: bool) -> None:
    """What is over is folded, and the replies are gone that an undo, or what comes later, asks for."""
    for path, state in self.states():
        if state.progress == "ok" and state.reply:
            self.change_node(path, reply="")
    _SETTLE(self, leaf, reply, skipped)

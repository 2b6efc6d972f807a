"""The functions by which a saga goes on without an undo, with one rule left out."""

from choros.messages import FORGOTTEN
from choros.saga.machine import acts
from choros.saga.machine.inputs import SettleRequested
from choros.saga.machine.instance import Leg
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Commanded
from choros_verify.exploration.variant import instead_of

_GIVE_UP, _LEAVE, _SETTLE = SagaWalk.give_up, SagaWalk.leave_standing, acts._settle


@instead_of(SagaWalk.give_up)
def undo_skipped_without_close(self: SagaWalk, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
    """An undo is skipped without closing it: it may come yet."""
    if leaf.may_skip(leg.operation) and not self.instance.terminating:
        self.leave_standing(leaf.path, code or FORGOTTEN)
    else:
        _GIVE_UP(self, leaf, leg, code, detail)


@instead_of(SagaWalk.leave_standing)
def left_standing_but_not_said(self: SagaWalk, path: str, why: str) -> None:
    """A step whose undo is skipped counts as undone."""
    _LEAVE(self, path, why)
    self.change_node(path, progress="undone")


@instead_of(SagaWalk._is_left_standing)
def clean_undo_claimed(self: SagaWalk) -> bool:
    """The facts of an undone saga leave, although something of it stands."""
    return False


@instead_of(SagaWalk.leave_standing)
def stops_at_what_is_left_standing(self: SagaWalk, path: str, why: str) -> None:
    """Behind a step that is left standing nothing is undone any more."""
    for other, state in self.states():
        if other != path and state.progress == "ok":
            self.change_node(other, progress="undone")
    _LEAVE(self, path, why)


@instead_of(acts._settle)
def settled_without_close(walk: SagaWalk, act: SettleRequested) -> None:
    """An undo that a person has seen to is not closed: it may come yet."""
    leaf = walk.outline.commanded(act.step)
    if walk.instance.terminal or leaf is None:
        _SETTLE(walk, act)
    else:
        walk.settle(leaf, "", skipped=False)


@instead_of(SagaWalk.release_withheld)
def settled_and_not_told(self: SagaWalk) -> None:
    """What says that the saga is undone is not told once that is true."""


@instead_of(acts._settle_at_end)
def settled_as_it_was_left(walk: SagaWalk, act: SettleRequested) -> None:
    """What a person says of what is left is noted, and changes nothing."""
    walk.note("by_hand", act.step, code="undone")
    walk.release_withheld()

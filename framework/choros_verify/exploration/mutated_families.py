"""What two sagas, one within the other, decide with one rule left out."""

from choros.messages import Done, NothingToUndo, Reply
from choros.saga.machine import nested
from choros.saga.machine.inputs import NestedReply
from choros.saga.machine.instance import Instance, Order, Parent, States
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Outline
from choros.values import replace
from choros_verify.exploration.family import FamilyRules
from choros_verify.exploration.variant import Swap, Variant, instead_of

_RELEASE, _WAITS, _REPLY = SagaWalk._release, SagaWalk._waits_for_parent, nested._reply
_OUTCOME = nested._outcome


@instead_of(SagaWalk._release)
def never_released(self: SagaWalk, *, ended: bool) -> bool:
    """Who is nested is never told that it will not be undone any more."""
    return False


@instead_of(SagaWalk._release)
def released_too_soon(self: SagaWalk, *, ended: bool) -> bool:
    """It is told so as soon as it stands."""
    if self.instance.backward:
        return _RELEASE(self, ended=ended)
    for path, state in self.states():
        if state.unreleased and state.progress == "ok" and not state.leg:
            self._node(path).let_end(self)
    return _RELEASE(self, ended=ended)


@instead_of(SagaWalk.released)
def released_twice(self: SagaWalk, path: str) -> None:
    """That it has heard it is forgotten."""
    self.change_node(path, leg=None)
    self.note("released", path)
    self.go_on()


@instead_of(SagaWalk._waits_for_parent)
def revocable_taken_for_terminal(self: SagaWalk) -> bool:
    """A nested saga that is over has ended."""
    parent = self.instance.parent
    if parent and not parent.outcome and not parent.detached:
        self.change(parent=replace(parent, outcome="refused" if self.instance.backward else "ok"))
    return False


@instead_of(SagaWalk._waits_for_parent)
def facts_before_the_release(self: SagaWalk) -> bool:
    """What a nested saga has to tell, it tells when it is over."""
    waits = _WAITS(self)
    if waits and self.instance.stage == "revocable":
        self._tell()
    return waits


@instead_of(nested._reply)
def undone_before_it_is(outline: Outline, instance: Instance, order: Order) -> NestedReply | None:
    """That it is undone is answered when that begins."""
    stage = "settled" if instance.backward and order.operation == "undo" else instance.stage
    return _REPLY(outline, replace(instance, stage=stage), order)


@instead_of(nested._undone)
def left_below_not_said(instance: Instance, parent: Parent) -> Reply:
    """A nested saga that could not undo all of itself says that it is undone."""
    return Done() if parent.outcome == "ok" else NothingToUndo()


@instead_of(SagaWalk._is_left_standing)
def clean_undo_claimed_around(self: SagaWalk) -> bool:
    """The facts of an undone saga leave, although something of one that is nested in it stands."""
    return False


@instead_of(nested._outcome)
def left_below_not_refused(outline: Outline, instance: Instance, order: Order) -> NestedReply | None:
    """A nested saga that fails, and could not undo all of itself, says that it was refused, and no more."""
    nodes = {path: replace(one, progress="undone") if one.progress == "standing" else one
             for path, one in instance.nodes.items()}  # fmt: skip
    return _OUTCOME(outline, replace(instance, nodes=States(nodes)), order)


def _without(swap: Swap) -> FamilyRules:
    variant = Variant(swap)
    return FamilyRules(variant.begin, variant.decide, variant.never_begun)


def family_mutants() -> dict[str, FamilyRules]:
    """Each by the rule that it leaves out."""
    swaps = {
        "never released": never_released,
        "released too soon": released_too_soon,
        "released twice": released_twice,
        "revocable taken for terminal": revocable_taken_for_terminal,
        "facts before the release": facts_before_the_release,
        "undone before it is": undone_before_it_is,
        "left below not said": left_below_not_said,
        "left below not said with a refusal": left_below_not_refused,
        "clean undo claimed around it": clean_undo_claimed_around,
    }
    return {
        "undo before start forgotten": FamilyRules(tombstones=False),
        "begun twice": FamilyRules(begins_once=False),
        **{name: _without(swap) for name, swap in swaps.items()},
    }

"""Bugs to plant into the runtime that show only where nodes stand in nodes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from choros.messages import Failure
from choros.saga.machine import acts
from choros.saga.machine.instance import NodeState
from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.parallel import QuorumNode, RaceNode
from choros.saga.nodes.publish import PublishNode
from choros.saga.nodes.scope import OTHERWISE, ScopeNode
from tests.simulation.planted import Plant


def losers_that_stay(patch: pytest.MonkeyPatch) -> None:
    """A race is over, and nobody has lost it."""
    patch.setattr(RaceNode, "_joins", lambda self, turn, over: len(over) >= self.wins)


def losers_that_are_never_undone(patch: pytest.MonkeyPatch) -> None:
    """Whoever has lost is told so, and nothing follows from it."""
    patch.setattr(SagaWalk, "_undo_losers", lambda self: False)
    patch.setattr(Turn, "busy", property(lambda self: any(state.leg for _, state in self.states())))


def a_saga_that_waits_for_its_losers(patch: pytest.MonkeyPatch) -> None:
    """Whoever lost before the saga turned has to say so once more."""
    patch.setattr(SagaWalk, "_backward", lambda self: self._root.backward(self))


def ways_back_that_overtake(patch: pytest.MonkeyPatch) -> None:
    """What one way passes over on its way back counts as undone in the others."""
    patch.setattr(Turn, "_leave", lambda self, number, inside: self.change(accepted=number))


def fewer_than_enough(patch: pytest.MonkeyPatch) -> None:
    """However many fail, the others are enough."""

    def catches(self: QuorumNode, turn: Turn, path: str) -> bool:
        left = [way for way in self.ways if not turn.state(way.path).lost]
        if turn.state(self.path).progress != "entered" or len(left) <= 1:
            return False
        turn.lose(next(way.path for way in left if path.startswith(way.path)), self._nodes)
        return True

    patch.setattr(QuorumNode, "catches", catches)


def a_scope_that_leaves_things_behind(patch: pytest.MonkeyPatch) -> None:
    """Where one way does not succeed the other is gone, and what was done for the first stays."""
    catches = ScopeNode.catches

    def at_once(self: ScopeNode, turn: Turn, path: str) -> bool:
        caught = catches(self, turn, path)
        if caught:
            turn.change_node(self.path, choice=OTHERWISE)
        return caught

    patch.setattr(ScopeNode, "catches", at_once)


def facts_of_losers(patch: pytest.MonkeyPatch) -> None:
    """What a loser held back leaves with everything else."""
    patch.setattr(PublishNode, "turned", lambda self, turn: None)


def a_failure_that_is_nobodys(patch: pytest.MonkeyPatch) -> None:
    """Whatever fails anywhere undoes the whole saga, and what is under way beside it is forgotten."""
    turn_back = SagaWalk.turn_back

    def forgetful(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
        turn_back(self, failure, refusal)
        for path, state in self.states():
            if state.progress == "in_doubt" and path != failure.step:
                self.change_node(path, progress="refused", leg=None)

    patch.setattr(SagaWalk, "turn_back", forgetful)


def one_retry_for_all(patch: pytest.MonkeyPatch) -> None:
    """Whoever looks after one node that is parked has looked after all of them."""
    unpark = Turn.unpark

    def all_of_them(self: Turn, path: str) -> None:
        for parked in [other for other, state in self.states() if state.parked]:
            unpark(self, parked)

    patch.setattr(Turn, "unpark", all_of_them)


def ended_with_open_keys(patch: pytest.MonkeyPatch) -> None:
    """A saga is terminated at once, whatever is under way."""

    def stop(walk: SagaWalk, path: str) -> None:
        state: NodeState = walk.state(path)
        if state.leg:
            walk.change_node(path, leg=None, parked="", progress="closed")

    patch.setattr(acts, "_stop", stop)


def dependencies_that_nobody_asks_for(patch: pytest.MonkeyPatch) -> None:
    """What others were built upon is undone beside them."""
    patch.setattr(SagaWalk, "is_needed", lambda self, path: False)


PLANTS: Sequence[Plant] = (
    losers_that_stay,
    losers_that_are_never_undone,
    a_saga_that_waits_for_its_losers,
    ways_back_that_overtake,
    fewer_than_enough,
    a_scope_that_leaves_things_behind,
    facts_of_losers,
    a_failure_that_is_nobodys,
    ended_with_open_keys,
    dependencies_that_nobody_asks_for,
)

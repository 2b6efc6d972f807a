"""Time without length: what matters of a moment is which timers are due in it.

An instance is kept with every time replaced by "there is one" (`timeless`); before each decision it gets times again
under which exactly the wanted timers are due (`timed`). So any timer may fire at any moment, in every order.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

from choros.messages import Failure
from choros.saga.machine.instance import ROOT, Instance, NodeState, States
from choros_verify.exploration.locked import at


class Moment(NamedTuple):
    """What is due: with several commands under way, any of their timers may fire without the others."""

    due: frozenset[str] = frozenset()
    """The nodes whose timers are; that of the lock is the saga's own."""
    used_up: frozenset[str] = frozenset()
    """Those for whose commands the time for retries is over."""
    deadline: bool = False
    """Whether that of the saga is."""

    def beside(self, other: Moment) -> Moment | None:
        """Both at once; None where that is no moment of its own, or the two say different things of one node."""
        if self == other or EARLY in (self, other):
            return Moment(self.due | other.due, self.used_up | other.used_up, self.deadline or other.deadline)
        if self.deadline or other.deadline or (self.due | self.used_up) & (other.due | other.used_up):
            return None
        return Moment(self.due | other.due, self.used_up | other.used_up)


EARLY = Moment()
NOW = 1e11
"""Later than the start of every attempt by more than any policy allows in all."""
LATER = NOW + 1e8
DUE, DEADLINE, FINISHED, NOT_AFTER = 10.0, 20.0, 30.0, NOW + 1e10
FAILURE = Failure(code="unknown", kind="in_doubt").to_json()


def last_moment(instance: Instance) -> Moment:
    """The timers of all nodes are due, and nothing is tried again."""
    every = {path for path, state in instance.nodes.items() if state.due is not None}
    lock = instance.lock
    every |= {ROOT} if lock is not None and (lock.until is not None or lock.ask_at is not None) else set()
    return Moment(frozenset(every), frozenset(every))


def timed(instance: Instance, moment: Moment) -> Instance:
    """The instance with times under which this is the moment, at `NOW`."""
    nodes = States((path, _timed(state, path, moment)) for path, state in instance.nodes.items())
    deadline = NOW if moment.deadline else LATER
    over = ROOT in moment.used_up
    lock = at(instance.lock, asks=ROOT in moment.due, is_over=over, now=NOW, later=LATER)
    return replace(instance, nodes=nodes, deadline=None if instance.deadline is None else deadline, lock=lock)


def _timed(state: NodeState, path: str, moment: Moment) -> NodeState:
    if state.due is None:
        return state
    due = NOW if path in moment.due else LATER
    if state.progress == "awaiting":  # where it began long ago, every reminder is due
        end, began = NOW if path in moment.used_up else LATER, 0.0 if path in moment.due else NOW
        return replace(state, until=due, not_after=end, began=began)
    if state.leg is None:
        return replace(state, until=due)
    by = state.leg.finish_by
    if by is not None:  # where that is not over, what is due before it is a question
        over = due if state.leg.unfinished else 0.0
        by = over if path in moment.used_up else LATER + 1.0
    first_at = 0.0 if path in moment.used_up else NOW
    return replace(state, leg=replace(state.leg, first_at=first_at, due=due, finish_by=by))


def timeless(instance: Instance) -> Instance:
    """The instance without what no decision depends on: times, why it failed, why it is parked, what it
    withholds of that, who caused it.

    The machine reads none of these but the times; a failure only goes into the facts of the end, which must be told
    apart where something was given with it."""
    return replace(
        instance,
        nodes=States((path, _timeless(state)) for path, state in instance.nodes.items()),
        deadline=None if instance.deadline is None else DEADLINE,
        failure=instance.failure if instance.refusal else instance.failure and FAILURE,
        wanted=instance.wanted and "cancelled",
        lock=at(instance.lock, asks=True, is_over=True, now=DUE, later=DUE),
        withheld=tuple((name, "") for name, _ in instance.withheld),
        cause="",
    )


@cache
def _timeless(state: NodeState) -> NodeState:
    leg = state.leg
    if leg:
        by = None if leg.finish_by is None else FINISHED
        why = leg.gives_up and "given up"
        due, rung = None if leg.due is None else DUE, min(leg.rung, 1)
        leg = replace(leg, first_at=0.0, due=due, finish_by=by, rung=rung, gives_up=why)
    began, until = None if state.began is None else 0.0, None if state.until is None else DUE
    not_after, parked = state.not_after and NOT_AFTER, state.parked and "for a person"
    return replace(state, leg=leg, not_after=not_after, began=began, parked=parked, until=until)

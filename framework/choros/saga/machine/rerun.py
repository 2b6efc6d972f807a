"""Running a saga again from its end: what may be kept of it, and the taking over, decided once and for all.

The new instance keeps the steps before `from` and owns their effects from then on: it knows them under the keys that
they were carried out with, so its undo reaches them. Only one instance may ever own an effect; hence the old one notes
its one successor in its own record, by the same compare-and-set as everything else, before that begins.
"""

from __future__ import annotations

from dataclasses import replace

from choros.errors import unknown
from choros.saga.machine.instance import Instance, StepState
from choros.saga.nodes.steps import Publish
from choros.saga.plan import Plan, Planned


def why_not(plan: Plan, instance: Instance, step: str) -> str:
    """Why the saga cannot be run again from this step, as a sentence; empty if it can."""
    start = plan.find(step)
    if not instance.terminal:
        return f"The saga is {instance.status}; only one that is completed or compensated can be run again."
    if start is None or isinstance(start.node, Publish):
        names = [one.name for one in plan.steps if not isinstance(one.node, Publish)]
        return unknown(f"The saga commands no step {step!r}.", step, names)[0]
    if instance.successor:
        return f"It was run again from {instance.rerun_from}, as {instance.successor}; that one has taken it over."
    return _in_the_way(plan, instance, start)


def _in_the_way(plan: Plan, instance: Instance, start: Planned) -> str:
    for planned in plan.steps:
        state = instance.steps[planned.index]
        if isinstance(planned.node, Publish):
            continue
        if planned.index < start.index and state.progress != "ok":
            first = next(one.name for one in plan.steps if not isinstance(one.node, Publish))
            return f"{planned.name} does not stand any more, so nothing can be kept; run it again from {first}."
        if planned.index >= start.index and stands(state):
            return f"{planned.name} still stands, and would be there twice."
    return ""


def stands(state: StepState) -> bool:
    """Whether the step's effect is there; a person who skipped it had the participant promise that it is not."""
    return state.progress == "ok" and not state.skipped


def kept_by(plan: Plan, instance: Instance, step: str) -> tuple[StepState, ...]:
    """The steps before this one, as the new instance takes them over; not the facts just before it that an undone saga
    dropped or took back, since they come out anew."""
    start = plan.find(step)
    assert start is not None
    count = start.index
    while count and instance.steps[count - 1].progress in ("pending", "retracted"):
        count -= 1
    return tuple(replace(state, owner=state.owner or instance.saga_id) for state in instance.steps[:count])

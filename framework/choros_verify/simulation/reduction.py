"""From a plan that breaks something to a smaller one that still does: fewer faults first, then less of everything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from choros_verify.simulation.scene import Result, Scene
from choros_verify.simulation.script import BESIDE, PATIENT, RunPlan

T = TypeVar("T")
Breaks = Callable[[RunPlan], bool]
MOST_RUNS = 400
"""Plans tried at most."""


def shrink(scene: Scene, result: Result) -> Result:
    """The same violation with as little as possible around it."""
    wanted = {violation.partition(":")[0] for violation in result.violations}
    best, left = replace(result, plan=_named(result.plan, len(scene.starts))), MOST_RUNS

    def breaks(plan: RunPlan) -> bool:
        nonlocal best, left
        if left <= 0:
            return False
        left -= 1
        found = scene.examine(plan)
        if wanted.isdisjoint(violation.partition(":")[0] for violation in found.violations):
            return False
        best = found
        return True

    before = None
    while best.plan != before and left > 0:
        before = best.plan
        for smaller in _WAYS:
            smaller(best.plan, breaks)
    return best


def fewest(items: Sequence[T], breaks: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Delta debugging: leave out halves, then quarters, then single ones, for as long as it still breaks."""
    parts = 2
    while items:
        size = max(1, len(items) // parts)
        for start in range(0, len(items), size):
            rest = [*items[:start], *items[start + size :]]
            if breaks(rest):
                items, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(items), parts * 2)
    return items


def _fewer_faults(plan: RunPlan, breaks: Breaks) -> None:
    fewest(plan.faults, lambda faults: breaks(replace(plan, faults=tuple(faults))))


def _less_script(plan: RunPlan, breaks: Breaks) -> None:
    lines = fewest(plan.script, lambda script: breaks(replace(plan, script=tuple(script))))
    plan = replace(plan, script=tuple(lines))
    fewest(plan.acts, lambda acts: breaks(replace(plan, acts=tuple(acts))))


def _fewer_sagas(plan: RunPlan, breaks: Breaks) -> None:
    for index in range(len(plan.starts) - 1, -1, -1):
        smaller = _without_saga(plan, index)
        if (smaller.starts or smaller.flows) and breaks(smaller):
            plan = smaller


def _without_saga(plan: RunPlan, gone: int) -> RunPlan:
    def kept(items: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(replace(i, saga=i.saga - (i.saga > gone)) for i in items if i.saga != gone)

    starts = tuple(start for index, start in enumerate(plan.starts) if index != gone)
    sagas = tuple(kind for index, kind in enumerate(plan.sagas) if index != gone)
    return replace(plan, starts=starts, sagas=sagas, script=kept(plan.script), acts=kept(plan.acts))


def _fewer_flows(plan: RunPlan, breaks: Breaks) -> None:
    """The last of them, as the number says which one a flow is; and less of what happens in them."""
    while plan.flows:
        left = len(plan.flows) - 1
        lines = tuple(line for line in plan.reactions if line.flow < left)
        smaller = replace(plan, flows=plan.flows[:left], reactions=lines)
        if not breaks(smaller):
            break
        plan = smaller
    fewest(plan.reactions, lambda lines: breaks(replace(plan, reactions=tuple(lines))))


def _named(plan: RunPlan, kinds: int) -> RunPlan:
    """With it said which saga each is, so that it stays that where one before it is left out."""
    return replace(plan, sagas=tuple(plan.kind(index, kinds) for index in range(len(plan.starts))))


def _simpler(plan: RunPlan, breaks: Breaks) -> None:
    """One orchestrator, an even pace, no moment of calm, nobody beside."""
    wishes: list[dict[str, Any]] = [{"orchestrators": n} for n in range(1, plan.orchestrators)]
    wishes += [
        {"calm_at": None},
        {"stays": 0.0},
        {"a_step": 1e-4},
        {"every": 2.0},
        {"broker": "4.3"},
        {"together": False},
        {"keep": None},
        {"rival": False},
        {"patience": PATIENT},
        {"beside": False, "faults": tuple(f for f in plan.faults if not f.target.startswith(BESIDE))},
    ]
    wishes.append({"starts": tuple(float(int(start)) for start in plan.starts)})
    for wish in wishes:
        simpler = replace(plan, **wish)
        if simpler != plan and breaks(simpler):
            plan = simpler


def _smaller_amounts(plan: RunPlan, breaks: Breaks) -> None:
    for index, fault in enumerate(plan.faults):
        for amount in _smaller(fault.amount):
            faults = (*plan.faults[:index], replace(fault, amount=amount), *plan.faults[index + 1 :])
            if breaks(replace(plan, faults=faults)):
                plan = replace(plan, faults=faults)
                break


def _smaller(amount: float) -> Iterator[float]:
    yield from (tried for tried in (1.0, 5.0, 10.0, 30.0, 60.0) if tried < amount)
    if amount != int(amount):
        yield float(int(amount) + 1)


_WAYS = (_fewer_faults, _fewer_sagas, _fewer_flows, _less_script, _simpler, _smaller_amounts)

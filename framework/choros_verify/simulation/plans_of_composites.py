"""What a plan has on top where nodes are under way beside each other: more trouble at one time, and more people."""

import random
from collections.abc import Iterator
from typing import Any, Literal

from choros.saga.outline import Commanded, Composite
from choros.saga.saga import Saga
from choros_verify.simulation.nested_sagas import served
from choros_verify.simulation.script import (
    Behaviour,
    PersonAct,
    PersonVerb,
    RunPlan,
    ScriptLine,
    chance_of,
    in_some_item,
)
from choros_verify.simulation.targets import Targets

_OUTCOMES: tuple[Behaviour, ...] = ("transient", "slow", "stuck", "landed")
_VERBS: tuple[PersonVerb, ...] = ("retry", "retry", "skip", "cancel", "terminate")


def more_trouble(plan: RunPlan, setting: Targets) -> Iterator[ScriptLine]:
    """More commands that do not go well, so that several nodes lose, are undone or wait for a person together."""
    chance, taken = chance_of(plan, "more trouble"), {(line.saga, line.step, line.operation) for line in plan.script}
    for index in range(len(plan.starts)):
        saga = setting.saga(plan, index)
        if not _is_composed(saga) or chance.random() < 0.4:
            continue
        for leaf in chance.choices(served(saga), k=chance.choice((1, 2, 4))):
            line = _line(chance, index, leaf)
            if (index, line.step, line.operation) not in taken:
                taken.add((index, line.step, line.operation))
                yield line


def _line(chance: random.Random, index: int, leaf: Commanded) -> ScriptLine:
    operation: Literal["do", "undo"] = "undo" if leaf.undo and chance.random() < 0.3 else "do"
    codes = leaf.sure_refusals if operation == "do" else ()
    refused, amount = bool(codes) and chance.random() < 0.4, round(chance.uniform(1.0, 45.0), 1)
    outcome: Behaviour = "refused" if refused else chance.choice(_OUTCOMES)
    code = chance.choice(codes) if refused else ""
    return ScriptLine(index, in_some_item(chance, leaf), operation, outcome, amount, code)


def more_acts(plan: RunPlan, setting: Targets) -> Iterator[PersonAct]:
    """Somebody ends a saga as it is; and where several nodes may be parked, looks after one after the other."""
    chance = chance_of(plan, "more acts")
    verbs: list[PersonVerb] = ["terminate"] if chance.random() < 0.04 else []
    if any(_is_composed(saga) for saga in setting.sagas):
        verbs += chance.choices(_VERBS, k=chance.choice((0, 0, 1, 3)))
    for verb in verbs:
        at = round(max(plan.starts) + 20.0 * chance.random() ** 3, 3)
        yield PersonAct(at, chance.randrange(len(plan.starts)), verb, chance.randrange(4))
    yield from _a_pause(plan, setting)


def _a_pause(plan: RunPlan, setting: Targets) -> Iterator[PersonAct]:
    """Somebody has a saga stand still in the middle of all that, and go on."""
    chance = chance_of(plan, "a pause")
    index = chance.randrange(len(plan.starts))
    if chance.random() < 0.15 and _is_composed(setting.saga(plan, index)):
        at = round(plan.starts[index] + 20.0 * chance.random() ** 2, 3)
        yield PersonAct(at, index, "pause")
        yield PersonAct(round(at + chance.uniform(0.5, 40.0), 2), index, "resume")


def _is_composed(saga: Saga[Any]) -> bool:
    return any(isinstance(node, Composite) for node in saga.outline.nodes.values())

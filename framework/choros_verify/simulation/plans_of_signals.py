"""What a plan has on top where sagas may be told or asked something, or others finish their commands: when somebody
does, early, in time or late."""

from collections.abc import Iterator

from choros_verify.simulation.callbacks import FAILED
from choros_verify.simulation.early_answers import askable
from choros_verify.simulation.nested_sagas import served
from choros_verify.simulation.script import PersonAct, RunPlan, ScriptLine, chance_of, in_some_item
from choros_verify.simulation.targets import Targets
from choros_verify.simulation.wait_paths import waits_of


def more_signals(plan: RunPlan, setting: Targets) -> Iterator[PersonAct]:
    """Most waits are told something, some twice; soon after the saga has begun, or when nobody waits any more."""
    chance = chance_of(plan, "signals")
    for index in range(len(plan.starts)):
        waits = waits_of(setting.saga(plan, index).outline)
        for _ in range(chance.choice((0, 1, 2, 4, 8)) if waits else 0):
            at = round(plan.starts[index] + 90.0 * chance.random() ** 2, 3)
            yield PersonAct(at, index, "signal", chance.randrange(len(waits)))


def more_updates(plan: RunPlan, setting: Targets) -> Iterator[PersonAct]:
    """Most sagas that answer updates are asked for some, as they begin or later."""
    chance = chance_of(plan, "updates")
    for index in range(len(plan.starts)):
        updates = setting.saga(plan, index).outline.updates
        for _ in range(chance.choice((0, 1, 2, 4)) if updates else 0):
            at = round(plan.starts[index] + 20.0 * chance.random() ** 2, 3)
            yield PersonAct(at, index, "update", chance.randrange(len(updates)))


def more_queries(plan: RunPlan, setting: Targets) -> Iterator[PersonAct]:
    """Of some sagas somebody wants the reply of a step as soon as there is one."""
    chance = chance_of(plan, "queries")
    for index, start in enumerate(plan.starts):
        steps = askable(setting.saga(plan, index))
        if steps and chance.random() < 0.15:
            yield PersonAct(round(start + 4.0 * chance.random() ** 2, 3), index, "query", chance.randrange(len(steps)))


def more_later(plan: RunPlan, setting: Targets) -> Iterator[ScriptLine]:
    """Most commands that may be finished later are; some are refused then, some fail, some come behind their bound."""
    chance, taken = chance_of(plan, "later"), {(line.saga, line.step, line.operation) for line in plan.script}
    for index in range(len(plan.starts)):
        for leaf in served(setting.saga(plan, index)):
            path = in_some_item(chance, leaf)
            if setting.later(leaf) and chance.random() < 0.7 and (index, path, "do") not in taken:
                code = chance.choice(["", "", "", "", FAILED, *leaf.sure_refusals])
                bound = leaf.finished_within.total_seconds() if leaf.finished_within else 0.0
                yield ScriptLine(index, path, "do", "later", round(1.6 * bound * chance.random() ** 2, 1), code)

"""A plan on frames: what goes wrong below the messages comes on top of everything else."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from choros_verify.simulation.amqp.carried import STRANGE
from choros_verify.simulation.faults import COUNTED_BY, ON_FRAMES, Fault, FaultKind
from choros_verify.simulation.script import BESIDE, RunPlan, ScriptLine
from choros_verify.simulation.targets import Targets

_OF_A_STEP = 0.01
"""A process makes many more steps for the same."""
_LARGE = 0.1
"""How often somebody may fail for ever, or others work beside: every process and every second costs so much more."""
_SPANS: Mapping[str, tuple[float, float]] = {"slow_read": (0.2, 10.0), "oversized": (100.0, 400.0)}
"""How much of each."""
_WAYS: Mapping[str, tuple[float, ...]] = {
    "half_open": (0, 0, 1, 2), "late_answer": (0.5, 3, 8, 15, 40), "undecodable": tuple(range(len(STRANGE)))
}  # fmt: skip
"""Which of so many."""


def on_frames(plan: RunPlan, setting: Targets) -> RunPlan:
    """The same, with faults of its own for frames."""
    chance = random.Random(f"{plan.seed} frames")
    plan = plan if chance.random() < _LARGE else _smaller(plan)
    kinds = chance.sample(ON_FRAMES, chance.choice((1, 2, len(ON_FRAMES))))
    number = chance.choice((0, 1, 1, 2, 3, 6))
    drawn = tuple(_fault(chance, plan, setting, chance.choice(kinds)) for _ in range(number))
    return replace(plan, frames=True, a_step=plan.a_step * _OF_A_STEP, faults=(*plan.faults, *drawn))


def _smaller(plan: RunPlan) -> RunPlan:
    faults = tuple(fault for fault in plan.faults if not fault.target.startswith(BESIDE))
    return replace(plan, beside=False, rival=False, script=tuple(map(_soon_over, plan.script)), faults=faults)


def _soon_over(line: ScriptLine) -> ScriptLine:
    return replace(line, outcome="transient") if line.outcome == "stuck" else line


def _fault(chance: random.Random, plan: RunPlan, setting: Targets, kind: str) -> Fault:
    amount = float(chance.choice(_WAYS[kind])) if kind in _WAYS else round(chance.uniform(*_SPANS.get(kind, (0, 0))), 2)
    if kind not in COUNTED_BY:
        return Fault(cast(FaultKind, kind), chance.choice(setting.queues), chance.choice((1, 1, 2, 2, 3, 5, 9)), amount)
    present = [name for name in setting.processes if not name.startswith("orchestrator-")]
    target = chance.choice([*present, *(f"orchestrator-{number}" for number in range(1, plan.orchestrators + 1))])
    usual = setting.occasions.get(f"{COUNTED_BY[kind]} {target}", 100)
    return Fault(cast(FaultKind, kind), target, 1 + int(chance.random() ** 1.5 * 1.5 * usual), amount)

"""A plan on stores behind their adapters: what only they meet with comes on top of everything else."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from choros_verify.simulation.faults import ON_STORES, Fault, FaultKind, kinds_of
from choros_verify.simulation.script import RunPlan, StoreKind
from choros_verify.simulation.targets import Targets

_OF_A_STEP = 0.25
"""With an adapter in between, a process makes so many more steps for the same."""
_SPANS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("readonly", "oom", "loading", "disk_full"), (0.05, 20.0)), "busy": (0.05, 45.0),
    "killed": (0.0, 12.0),
}  # fmt: skip
"""How much of each; a fault that is not here has no amount."""


def on_adapters(plan: RunPlan, setting: Targets, store: StoreKind) -> RunPlan:
    """The same, with faults of its own for stores of this kind."""
    chance = random.Random(f"{plan.seed} adapters")
    number = chance.choice((0, 1, 1, 2, 3, 5))
    kinds = [kind for kind in ON_STORES[store] if kind != "lose"]  # which is drawn with the others
    drawn = tuple(_fault(chance, plan, setting, chance.choice(kinds)) for _ in range(number))
    there = kinds_of(frames=False, stores=(store,))
    faults = (*(fault for fault in plan.faults if fault.kind in there), *drawn)
    return replace(plan, store=store, a_step=plan.a_step * _OF_A_STEP, faults=faults)


def _fault(chance: random.Random, plan: RunPlan, setting: Targets, kind: str) -> Fault:
    target = chance.choice(setting.stores)
    usual = setting.occasions.get(f"write {target}", 20) * len(plan.starts)
    low, high = _SPANS.get(kind, (0.0, 0.0))
    amount = round(low + (high - low) * chance.random() ** 2, 0 if kind == "killed" else 2)
    return Fault(cast(FaultKind, kind), target, 1 + int(chance.random() ** 1.5 * max(usual, 3)), amount)

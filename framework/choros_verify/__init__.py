"""The proof: every interleaving of a declared saga, and the real runtime in a simulated world."""

from choros_verify.exploration import LONG, SHORT, Bounds, ExplorationReport, explore
from choros_verify.simulation import (
    Fault,
    PersonAct,
    Result,
    RunPlan,
    Scene,
    ScriptLine,
    Tally,
    campaign,
    plan_for,
    shrink,
    simulate,
)

__all__ = [
    "LONG", "SHORT", "Bounds", "ExplorationReport", "Fault", "PersonAct", "Result", "RunPlan", "Scene",
    "ScriptLine", "Tally", "campaign", "explore", "plan_for", "shrink", "simulate",
]  # fmt: skip

"""The simulated world: the real runtime on virtual time, with faults as data. Same seed, same trace.

    from choros_verify import Scene, simulate

    result = simulate(app, seed=7)              # one run of your application, with whatever that seed brings
    assert not result.violations, result.story

    scene = Scene(app, starts=[(my_saga, MyStart(...))])   # made once, for many runs
    for seed in range(300):
        assert not scene.examine(plan_for(seed, scene.setting)).violations

The services are played: each command has an effect in a ledger, and goes well, is refused, fails or hangs as the seed
says. Messages are made up from their fields where none are given. `choros sim run APP` does the same from a shell.
"""

from __future__ import annotations

from choros.app.app import App
from choros_verify.simulation.campaign import Tally, campaign
from choros_verify.simulation.examining import Result, Scene, Starts
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.planning import plan_for
from choros_verify.simulation.script import PersonAct, RunPlan, ScriptLine
from choros_verify.simulation.shrinking import shrink
from choros_verify.simulation.stage import Replies

__all__ = [
    "Fault", "PersonAct", "Result", "RunPlan", "Scene", "ScriptLine", "Tally", "campaign", "plan_for", "shrink",
    "simulate",
]  # fmt: skip


def simulate(app: App, seed: int, *, starts: Starts = (), replies: Replies | None = None) -> Result:
    """One run of an application in a simulated world, with its story. Raises UsageError."""
    scene = Scene(app, starts=starts, replies=replies)
    return scene.examine(plan_for(seed, scene.setting), story=True)

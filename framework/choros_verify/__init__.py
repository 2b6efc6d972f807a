"""The proof: every interleaving of a declared saga, and the real runtime in a simulated world.

found = explore(my_saga)                       # one duplicate, one crash, one retry; every refusal, timer, cancel
assert found.complete, "\\n".join(found.story)

result = simulate(app, seed=7)                 # one run of your application, with whatever that seed brings
assert not result.violations, result.story

scene = Scene(app, starts=[(my_saga, MyStart(...))])   # made once, for many runs
for seed in range(300):
    assert not scene.examine(plan_for(seed, scene.setting)).violations

told = parity((app, my_saga), (other_app, my_flow))    # the same work, commanded and choreographed
assert told.held, str(told)
"""

from choros_verify.exploration.bounds import LONG, SHORT, Bounds
from choros_verify.exploration.flows import FlowReport, explore_flow
from choros_verify.exploration.parity import ParityReport, parity
from choros_verify.exploration.report import ExplorationReport, explore
from choros_verify.simulation.campaign import Tally, campaign
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.plans import plan_for
from choros_verify.simulation.reduction import shrink
from choros_verify.simulation.scene import Result, Scene, simulate
from choros_verify.simulation.script import PersonAct, RunPlan, ScriptLine

__all__ = [
    "LONG", "SHORT", "Bounds", "ExplorationReport", "Fault", "FlowReport", "ParityReport", "PersonAct", "Result",
    "RunPlan", "Scene", "ScriptLine", "Tally", "campaign", "explore", "explore_flow", "parity", "plan_for", "shrink",
    "simulate",
]  # fmt: skip

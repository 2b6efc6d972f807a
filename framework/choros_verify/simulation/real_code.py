"""Every combination of what can become of each step of a saga, through the real runtime in a simulated world."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from choros.app.app import App
from choros.messages import Message
from choros.saga.saga import Saga
from choros_verify.simulation.invention import invent
from choros_verify.simulation.real_code_cases import MOST, Case, cases, look_every, must_end
from choros_verify.simulation.real_code_director import Director
from choros_verify.simulation.scene import Scene, judged, quietly
from choros_verify.simulation.script import RunPlan
from choros_verify.simulation.stage import Replies, always
from choros_verify.simulation.world import World

_COLLECT_EVERY = 50
OnRuns = Callable[[int, int], None]
"""Called now and then with the runs made and those to make."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A combination that broke something."""

    case: str
    """In words."""
    seed: int
    """Of this one run."""
    sentences: tuple[str, ...]


@dataclass(kw_only=True)
class RealCodeReport:
    """What came of all runs."""

    saga: str
    seed: int
    runs: int = 0
    possible: int
    """Combinations that there are."""
    complete: bool = False
    """Whether every combination was run; if not, every pair of outcomes of any two steps was."""
    statuses: Counter[str] = field(default_factory=Counter)
    """How the sagas ended, counted."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How often each outcome was asked of a step."""
    violations: list[Broken] = field(default_factory=list)
    seconds: float = 0.0
    """Of this machine's time."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        violations = [asdict(broken) for broken in self.violations]
        return {**vars(self), "violations": violations, "seconds": round(self.seconds, 1)}


def every_combination(
    app: App,
    saga: Saga[Any],
    *,
    seed: int = 0,
    progress: OnRuns | None = None,
    start: Message | None = None,
    replies: Replies | None = None,
    most: int = MOST,
) -> RealCodeReport:
    """Run every combination, or all pairs if there are more than `most`, and check each run against the invariants.

    `start` and `replies` stand in for made-up messages where those will not do. Raises UsageError if none come to mind.
    """
    begun = time.perf_counter()
    scene = Scene(app, starts=[(saga, start or invent(saga.start))], replies=replies)
    chosen = cases(saga, seed, most)
    report = RealCodeReport(saga=saga.name, seed=seed, possible=chosen.possible, complete=chosen.complete)
    with quietly():
        for number, case in enumerate(chosen.chosen):
            _note(report, case, seed + number, *run_case(scene, saga, case, seed + number))
            if progress:
                progress(report.runs, len(chosen.chosen))
            if not report.runs % _COLLECT_EVERY:
                gc.collect()  # in the middle of a run nothing is collected
    report.seconds = time.perf_counter() - begun
    return report


def _note(report: RealCodeReport, case: Case, seed: int, status: str, sentences: Sequence[str]) -> None:
    report.runs += 1
    report.statuses[status] += 1
    report.outcomes.update(do for _, do in case.does)
    if sentences:
        report.violations.append(Broken(str(case), seed, tuple(sentences)))


def fixed_replies(saga: Saga[Any], bodies: Mapping[str, str]) -> Replies:
    """Answers to the saga's commands from the bodies of replies, by type name; raises MessageRejected."""
    types = dict.fromkeys(saga.outline.answers)
    fixed = {known: known.from_json(bodies[known.type_name]) for known in types if known.type_name in bodies}
    return {reply_type: always(reply) for reply_type, reply in fixed.items()}


def run_case(scene: Scene, saga: Saga[Any], case: Case, seed: int) -> tuple[str, Sequence[str]]:
    """One combination: how the saga ended, and what was wrong."""
    plan = RunPlan(seed=seed, script=case.script(saga), every=look_every(saga), broker="3.10" if seed % 2 else "4.3")
    with quietly():
        world = scene.world(plan)
        try:
            Director(world, case, [leaf for leaf in saga.outline.commands if not leaf.existing])
            return _examined(world, scene, saga, case)
        finally:
            world.end()


def _examined(world: World, scene: Scene, saga: Saga[Any], case: Case) -> tuple[str, Sequence[str]]:
    found = judged(world, scene.horizon)
    record = world.store.records().get(world.saga_ids[0])
    status = record.status if record else "missing"
    wanted = must_end(case, saga)
    if wanted not in (None, status):
        found.append(f"The saga is {status}, and must be {wanted} by what it declares.")
    return status, found

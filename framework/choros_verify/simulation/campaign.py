"""Many runs, one for each seed, on all processors; and what they came to together."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from choros.app.app import App
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait, Sleeping
from choros_verify.simulation.early_answers import askable
from choros_verify.simulation.nested_sagas import served
from choros_verify.simulation.plans import plan_for
from choros_verify.simulation.releases import run_again_sometimes
from choros_verify.simulation.scene import Result, Scene

CHUNK = 25
"""Seeds that a worker takes at once."""
MOST_FAILURES = 20
"""Failures kept in full."""


@dataclass
class Tally:
    """What a number of runs came to."""

    runs: int = 0
    steps: int = 0
    seconds: float = 0.0
    """Of virtual time."""
    failed: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """How the sagas ended."""
    struck: Counter[str] = field(default_factory=Counter)
    edges: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one run in."""
        self.merge(
            Tally(
                1, result.steps, result.seconds, bool(result.violations), result.statuses, result.struck, result.edges,
                result.acts, [result] if result.violations else [],
            )
        )  # fmt: skip

    def merge(self, other: Tally) -> None:
        """Count the runs of another tally in."""
        self.runs += other.runs
        self.steps += other.steps
        self.seconds += other.seconds
        self.failed += other.failed
        self.statuses.update(other.statuses)
        self.struck.update(other.struck)
        self.edges.update(other.edges)
        self.acts.update(other.acts)
        self.failures = sorted([*self.failures, *other.failures], key=lambda r: r.plan.seed)[:MOST_FAILURES]

    def missing(self, scene: Scene) -> list[str]:
        """What should happen sometimes and never did: fault kinds, moves of the sagas' state, and answers."""
        kinds = [f"fault {kind}" for kind in scene.fault_kinds if not self.struck[kind]]
        sagas = [saga for saga, _ in scene.starts]
        wanted = [*answered_sometimes(sagas), *run_again_sometimes(scene.app, sagas), *_flows_sometimes(scene.app)]
        return kinds + [act for act in wanted if not self.acts[act]]


OnProgress = Callable[[Tally], None]


def campaign(
    scene: Scene, seeds: Sequence[int], *, workers: int = 1, on_progress: OnProgress = lambda _: None
) -> Tally:
    """Examine the plan of every seed. With several workers the runs are the same, only sooner done."""
    whole = Tally()
    for tally in _tallies(scene, seeds, workers):
        whole.merge(tally)
        on_progress(whole)
    return whole


def _tallies(scene: Scene, seeds: Sequence[int], workers: int) -> Iterator[Tally]:
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if workers < 2 or len(chunks) < 2:
        for chunk in chunks:
            yield _examine(scene, chunk)
        return
    with multiprocessing.get_context("fork").Pool(workers, _adopt, (scene,)) as pool:
        yield from pool.imap(_examine_here, chunks)  # in order: sums of floats depend on it


_here: list[Scene] = []


def _adopt(scene: Scene) -> None:
    """In a worker: the scene that it was forked with. What is there now stays, so nobody need look for it."""
    _here[:] = [scene]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()
    gc.freeze()


def _end_with_parent() -> None:
    """However the parent ends, also by a signal: a worker that waits for more work would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _examine_here(seeds: Sequence[int]) -> Tally:
    try:
        return _examine(_here[0], seeds)
    finally:
        gc.collect()


def _examine(scene: Scene, seeds: Sequence[int]) -> Tally:
    tally = Tally()
    for seed in seeds:
        tally.add(scene.examine(plan_for(seed, scene.setting)))
    return tally


# --- what should happen sometimes -------------------------------------------------------------------------------------


_ALWAYS = (
    "saga new -> running", "saga running -> completed", "saga paused", "saga resumed", "step pending -> sent",
    "step sent -> ok", "step sent again (do)", "step waits for its next attempt",
)  # fmt: skip


def sometimes(sagas: Sequence[Saga[Any]]) -> list[str]:
    """Every move of the state that these declarations make possible and a campaign is to have seen."""
    moves = list(_ALWAYS)
    for saga in sagas:
        moves += [*_moves_of_steps(saga), *_moves_of_facts(saga)]
        if any(isinstance(leaf, Sleeping) and not leaf.until for leaf in saga.outline.leaves.values()):
            moves += ["step pending -> asleep", "step asleep -> ok"]
        moves += ["lock waited for"] if saga.lock and saga.lock.within else []
        moves += ["lock taken"] if saga.lock else []
    return list(dict.fromkeys(moves))


def answered_sometimes(sagas: Sequence[Saga[Any]]) -> list[str]:
    """Every answer to be heard sometimes by whoever tells these sagas something, asks them, or finishes a command."""
    answers: list[str] = []
    for saga in sagas:
        leaves = saga.outline.leaves.values()
        if any(isinstance(leaf, SignalWait) for leaf in leaves):
            answers += ["signal signalled", "signal kept", "signal too_late"]
        if saga.outline.updates:
            answers += ["update accepted", "update refused"]
        answers += ["query answered"] if askable(saga) else []
        if any(leaf.finished_within for leaf in served(saga)):
            answers += ["finish finished", "finish repeated", "finish too late"]
    return list(dict.fromkeys(answers))


def _flows_sometimes(app: App) -> list[str]:
    """How flows are to have ended sometimes."""
    flows = app.choreographies.values()
    ends = ["flow ended well"] if flows else []
    return [*ends, *(["flow ended badly"] if any(flow.bad for flow in flows) else [])]


def _moves_of_steps(saga: Saga[Any]) -> Iterator[str]:
    commands = served(saga)
    if any(leaf.sure_refusals for leaf in commands):
        yield from ("step sent -> refused", "saga running -> compensated")
    undoable = [leaf for leaf in commands if leaf.undo]
    if undoable:
        yield from ("saga running -> compensating", "saga compensating -> compensated", "step ok -> undone")
        yield from ("step sent again (undo)", "saga compensating -> parked", "saga parked -> compensating")
    if any("in_doubt" in leaf.turns_on for leaf in undoable):
        yield from ("step sent -> in_doubt", "step in_doubt -> undone")
    if any("in_doubt" not in leaf.turns_on for leaf in commands if not leaf.existing):
        yield from ("saga running -> parked", "saga parked -> running", "step closed")


def _moves_of_facts(saga: Saga[Any]) -> Iterator[str]:
    for leaf in saga.outline.publications:
        if leaf.held:
            yield from ("step pending -> held", "step held -> published", "step held -> pending")
        else:
            yield "step pending -> published"
        if leaf.undo:
            yield "step published -> retracted"

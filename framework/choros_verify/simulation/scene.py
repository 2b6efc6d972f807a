"""One run examined: what came of it, and everything that was wrong about it."""

import gc
import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from choros.app.app import App
from choros.messages import Message
from choros.saga.nesting import nested_in
from choros.saga.saga import Saga, Sagas
from choros.saga.waiting import SignalWait, Sleeping
from choros_verify.simulation.amqp.client import simulated_client
from choros_verify.simulation.bound_invariants import bound_violations
from choros_verify.simulation.early_invariants import early_violations
from choros_verify.simulation.evidence import Evidence
from choros_verify.simulation.fact_invariants import fact_violations
from choros_verify.simulation.faults import kinds_of
from choros_verify.simulation.flow_invariants import ends_of_flows, flow_violations
from choros_verify.simulation.invariants import INVARIANTS, unfinished
from choros_verify.simulation.invention import invent
from choros_verify.simulation.later_invariants import later_violations
from choros_verify.simulation.lock_invariants import lock_violations
from choros_verify.simulation.loop import OutOfSteps
from choros_verify.simulation.nights import LONG
from choros_verify.simulation.own_services import Own
from choros_verify.simulation.plan_checks import check_plan
from choros_verify.simulation.plans import plan_for
from choros_verify.simulation.script import RunPlan, StoreKind
from choros_verify.simulation.signal_invariants import signal_violations
from choros_verify.simulation.sleep_invariants import sleep_violations
from choros_verify.simulation.stage import Replies, Troupe
from choros_verify.simulation.staged_flows import Begins
from choros_verify.simulation.targets import Targets
from choros_verify.simulation.update_invariants import update_violations
from choros_verify.simulation.world import World

Starts = Sequence[tuple[Saga[Any], Message]]
SHARES: Mapping[StoreKind, float] = {"memory": 0.91, "redis": 0.03, "sqlite": 0.06}
"""A run on adapters takes several times as long as one in memory."""
SLACK = 900.0
"""Seconds beyond the longest that the sagas' own policies allow."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run."""

    plan: RunPlan
    violations: tuple[str, ...]
    steps: int
    seconds: float
    """Of virtual time."""
    statuses: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    """Faults that struck, by kind."""
    edges: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    """What people and programs asked for, and how it was answered."""
    digest: str = ""
    """Of everything that happened, in its order."""
    story: tuple[str, ...] = ()
    """Told only where it was asked for."""


def judged(world: World, until: float) -> list[str]:
    """Run this world; every sentence that says what went wrong, none if nothing did."""
    try:
        ended, found = world.run(until), list[str]()
    except OutOfSteps as endless:
        ended, found = False, [f"5: {endless}"]
    for run in world.evidence():
        found += _violations(run, ended)
    return list(dict.fromkeys(found))


def _violations(run: Evidence, ended: bool) -> Iterator[str]:
    of_nodes = fact_violations, bound_violations, sleep_violations, signal_violations, lock_violations
    for invariant in (*INVARIANTS, *of_nodes, update_violations, later_violations, early_violations, flow_violations):
        yield from invariant(run)
    if not ended:
        yield from unfinished(run)


class Scene:
    """An application made ready to be simulated; good for any number of runs, one after another."""

    def __init__(
        self,
        app: App,
        *,
        starts: Starts = (),
        own: Own = (),
        replies: Replies | None = None,
        begins: Begins | None = None,
        frames: bool = False,
        store: StoreKind | None = None,
    ) -> None:
        """`own`: services whose own handlers run. `begins`: what makes the first fact of a flow, by its type, of
        the flow's number. `store`: what all runs keep their sagas and rows in, where none is
        given some in this and some in that, as far as own handlers are written for it."""
        self._troupe = Troupe(app, own=own, replies=replies, begins=begins)
        self.app = app
        self.frames = frames
        """Whether processes reach the broker by frames."""
        self.starts: Starts = list(starts) or [(saga, invent(saga.start)) for saga in app.sagas.values()]
        self.shares: Mapping[StoreKind, float] = {kind: SHARES[kind] for kind in self._troupe.own.stores(store)}
        """Which share of the runs keeps everything in what."""
        self._occasions: dict[StoreKind, Mapping[str, int]] = {}
        self.setting = self._rehearse()

    def _rehearse(self) -> Targets:
        """A run in which nothing goes wrong tells what there is to strike."""
        first = next(iter(self.shares))
        with self._rehearsal(first) as world:
            queues = [queue.name for queue in world.working_queues() if ".retry." not in queue.name]
            queues = [name for name in queues if self.starts or ".replies." not in name]  # which nobody reads then
            occasions, processes = world.occasions(), world.process_names
        self._occasions[first] = occasions
        sagas = [saga for saga, _ in self.starts]
        kept = self.shares, self._occasions_on
        return Targets(self.app, sagas, processes, queues, occasions, *kept, self._troupe.flows, self.frames)

    def _occasions_on(self, kind: StoreKind) -> Mapping[str, int]:
        if kind not in self._occasions:
            with self._rehearsal(kind) as world:
                self._occasions[kind] = world.occasions()
        return self._occasions[kind]

    @contextmanager
    def _rehearsal(self, kind: StoreKind) -> Iterator[World]:
        with quietly():
            starts, flows = (0.0,) if self.starts else (), (0.0,) * len(self._troupe.flows.declared)
            world = self.world(RunPlan(seed=0, starts=starts, flows=flows, frames=self.frames, store=kind))
            try:
                world.run(self.horizon)
                yield world
            finally:
                world.end()

    @property
    def fault_kinds(self) -> tuple[str, ...]:
        """What can strike in its runs."""
        kinds = kinds_of(frames=self.frames, stores=self.shares)
        return kinds if self.app.sagas else tuple(kind for kind in kinds if kind != "deploy")

    def world(self, plan: RunPlan) -> World:
        """The world of this plan, before anything has happened."""
        return World(self._troupe, self.starts, plan)

    @property
    def horizon(self) -> float:
        """Seconds after which every saga must have ended or be parked, by the policies that it declares."""
        sagas = max((_longest(saga, self.app.sagas) for saga, _ in self.starts), default=0.0)
        return sagas + self._troupe.flows.longest + SLACK

    def examine(self, plan: RunPlan, *, story: bool = False) -> Result:
        """Run a plan, and check everything. Raises UsageError for a plan that speaks of what is not there."""
        check_plan(plan, self.setting)
        with quietly():
            world = self.world(plan)
            try:
                return self._examined(world, story)
            finally:
                world.end()

    def _examined(self, world: World, story: bool) -> Result:
        found = judged(world, self.horizon + _late(world.plan))
        return Result(
            world.plan,
            tuple(found),
            world.loop.steps,
            world.loop.time(),
            Counter(world.statuses()),
            Counter(fault.kind for fault in world.faults.struck),
            world.observer.edges(),
            world.acts() + Counter(f"flow {end}" for run in world.evidence() for end in ends_of_flows(run)),
            _digest(world) if story or found else "",
            tuple(_story(world)) if story else (),
        )


def _late(plan: RunPlan) -> float:
    """How much longer it may take: what is wrong with the clocks, and stands still, comes on top of every policy."""
    return 3 * plan.clocks_off + sum(fault.amount for fault in plan.faults) + (plan.calm_at or 0.0)


def _longest(saga: Saga[Any], sagas: Sagas) -> float:
    """Every step tried to the end, forwards and backwards; of a sleep, what is no night; of a nested saga all of it; of
    a lock, how long it may be waited for."""
    seconds = saga.deadline.total_seconds() if saga.deadline else 0.0
    seconds += saga.lock.within.total_seconds() if saga.lock and saga.lock.within else 0.0
    for nested in nested_in(saga.outline):
        child = sagas[nested.child.saga, nested.child.version]
        seconds += 4 * nested.timeout.total_seconds() + _longest(child, sagas)
    for leaf in saga.outline.commands:
        for policy in (leaf.policy(operation) for operation in leaf.commands):
            seconds += policy.total.total_seconds() + policy.max.total_seconds() + 2 * leaf.timeout.total_seconds()
    return seconds + 2 * LONG * sum(isinstance(leaf, Sleeping | SignalWait) for leaf in saga.outline.leaves.values())


def _digest(world: World) -> str:
    said = [repr(effect) for effect in world.effects()]
    said += [f"{commit.at!r} {commit.process} {commit.transition.record}" for commit in world.observer.commits]
    said += [repr(entry) for entry in world.broker.ledger.entries]
    said += [f"{world.loop.steps} {world.loop.time()!r} {world.faults.occasions()}"]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _story(world: World) -> Iterator[str]:
    names = dict(world.names)
    lines = list(world.observer.story(names))
    for effect in world.effects():
        what = effect.what.replace(effect.saga_id, names.get(effect.saga_id, effect.saga_id))
        lines.append((effect.at, f"{effect.service}: {effect.kind} took effect: {what}"))
    for at, line in sorted(lines, key=lambda each: each[0]):
        yield f"{at:10.4f}  {line}"


@contextmanager
def quietly() -> Iterator[None]:
    """No logs, and no garbage collection in the middle of a run."""
    log = logging.getLogger("choros")
    before = log.level
    collecting = gc.isenabled()
    log.setLevel(logging.CRITICAL + 1)
    gc.disable()
    try:
        with simulated_client():
            yield
    finally:
        log.setLevel(before)
        if collecting:
            gc.enable()


def simulate(
    app: App,
    seed: int,
    *,
    starts: Starts = (),
    replies: Replies | None = None,
    frames: bool = False,
    store: StoreKind | None = None,
) -> Result:
    """One run of an application in a simulated world, with its story. Raises UsageError."""
    scene = Scene(app, starts=starts, replies=replies, frames=frames, store=store)
    return scene.examine(plan_for(seed, scene.setting), story=True)

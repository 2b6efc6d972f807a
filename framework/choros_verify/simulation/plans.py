"""From a seed to a plan: how many of everything, what the participants do, what people want, and what goes wrong."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros_verify.simulation.additions import with_additions
from choros_verify.simulation.faults import COUNTED_BY, RARE, CallFault, Fault, FaultKind, kinds_of
from choros_verify.simulation.nested_sagas import served
from choros_verify.simulation.plans_of_flows import with_flows
from choros_verify.simulation.plans_on_adapters import on_adapters
from choros_verify.simulation.plans_on_frames import on_frames
from choros_verify.simulation.script import BESIDE, Behaviour, PersonAct, PersonVerb, RunPlan, ScriptLine, in_some_item
from choros_verify.simulation.targets import Targets

MOST_SAGAS = 4
MOST_ORCHESTRATORS = 3
_OVERTAKING = ("delay", "delay", "delay", "reorder", "duplicate", "pause")
"""What lets a message come after one that was sent later: on top of somebody who changes their mind."""
_REFUSING = ("full", "full", "full", "nack", "nack", "cut_before")
"""What keeps one orchestrator from bringing out what another one's messages have to wait for."""
_MIXED = tuple(kind for kind in kinds_of(frames=False) if kind not in (*get_args(CallFault), *RARE))
"""What is drawn a few kinds at a time; the others come on top, by a chance of their own."""
_UNDO_OUTCOMES: tuple[Behaviour, ...] = ("transient", "transient", "slow", "stuck")
_VERBS: tuple[PersonVerb, ...] = ("cancel", "cancel", "cancel", "pause", "retry", "skip")
_BROKER_WIDE = ("block", "restart", "empty")
_SPANS: Mapping[str, tuple[float, float]] = {
    "delay": (0.05, 60.0), "crash": (0.05, 20.0), "pause": (0.05, 40.0), "stall": (0.05, 20.0), "skew": (-30.0, 30.0),
    "jump": (-30.0, 3600.0), "block": (0.5, 40.0), "restart": (0.2, 20.0), "empty": (0.2, 5.0), "full": (0.5, 40.0),
    "lose": (1.0, 4.0), "deploy": (0.5, 40.0),
}  # fmt: skip
"""How much of each; a fault that is not here has no amount."""


def plan_for(seed: int, setting: Targets) -> RunPlan:
    """The plan of this seed: always the same for the same application."""
    store = setting.kind(seed)
    setting = setting.on(store)
    chance = random.Random(f"{seed} plan")
    sagas = chance.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, MOST_SAGAS)) if setting.sagas else 0
    liveness = chance.random() < 0.5
    processes = chance.choice((1, 2, 2, MOST_ORCHESTRATORS)) if setting.sagas else 0
    theme = chance.random()
    overtaking, refusing = theme < 0.12, 0.12 <= theme < 0.22
    themed = _OVERTAKING if overtaking else _REFUSING if refusing else ()
    second = chance.randint(1, 3)
    starts = tuple(round(max(0.0, second - chance.uniform(0, 0.4)), 3) for _ in range(sagas))
    kinds = _kinds(seed, setting, sagas)
    script = tuple(line for index, kind in enumerate(kinds) for line in _lines(chance, index, setting.sagas[kind]))
    beside = random.Random(f"{seed} beside").random() < 0.12
    rival = not beside and random.Random(f"{seed} rival").random() < 0.08
    plan = RunPlan(
        seed=seed,
        broker=chance.choice(("3.10", "4.3")),
        orchestrators=processes,
        starts=tuple(sorted(starts)),
        sagas=kinds if len(setting.sagas) > 1 else (),
        script=(*script, *_hanging(seed, setting, script, kinds)),
        acts=_acts(chance, starts) if (overtaking or chance.random() < 0.3) and starts else (),
        faults=(
            *_faults(chance, setting, processes, sagas, themed),
            *_calls(seed, setting, sagas),
            *(_faults_beside(seed, setting) if beside else ()),
        ),
        calm_at=round(chance.uniform(2.0, 60.0), 1) if liveness else None,
        a_step=chance.choice((1e-5, 1e-4, 1e-3, 1e-2)),
        stays=chance.choice((0.0, 0.0, 0.5, 0.9)),
        every=chance.choice((3.0, 8.0)),
        together=random.Random(f"{seed} together").random() < 0.25,
        beside=beside,
        keep=_keep(random.Random(f"{seed} keep")),
        rival=rival,
    )
    plan = with_flows(with_additions(replace(plan, forgets=_forgets(plan)), setting), setting)
    plan = plan if store == "memory" else on_adapters(plan, setting, store)
    return on_frames(plan, setting) if setting.frames else plan


def _forgets(plan: RunPlan) -> float:
    """Not where a store loses what it acknowledged: a saga that is begun anew does not know when it first began."""
    loses = any(fault.kind == "lose" for fault in plan.faults)
    return 0.0 if loses else random.Random(f"{plan.seed} forgets").choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 20.0))


def _keep(chance: random.Random) -> float | None:
    """In a third of the runs what has ended is soon deleted, while messages of it are still on their way."""
    return chance.choice((0.0, 1.0, 15.0, 120.0)) if chance.random() < 0.35 else None


def _kinds(seed: int, setting: Targets, sagas: int) -> tuple[int, ...]:
    """Which of the application's sagas each is."""
    chance, known = random.Random(f"{seed} sagas"), range(len(setting.sagas))
    return tuple(chance.choice(known) for _ in range(sagas))


# --- what the participants do -----------------------------------------------------------------------------------------


def _lines(chance: random.Random, index: int, saga: Saga[Any]) -> list[ScriptLine]:
    """In half of the sagas all goes well; in the others one or two commands do not, or one and an undo before it."""
    steps = served(saga)
    if chance.random() < 0.45:
        return []
    troubled = chance.choice(steps)
    lines = [_line(chance, index, troubled)]
    before = [leaf for leaf in steps[: steps.index(troubled)] if leaf.undo]
    if before and chance.random() < 0.4:
        undone = chance.choice([*before, troubled] if troubled.undo else before)
        outcome = chance.choice(_UNDO_OUTCOMES)
        lines.append(ScriptLine(index, in_some_item(chance, undone), "undo", outcome, _amount(chance, outcome)))
    return lines


def _line(chance: random.Random, index: int, leaf: Commanded) -> ScriptLine:
    outcomes: list[Behaviour] = ["transient", "slow", "stuck", "landed"]
    codes = leaf.sure_refusals
    outcome = chance.choice([*outcomes, *(["refused"] * 3 if codes else [])])
    code = chance.choice(codes) if outcome == "refused" else ""
    path = in_some_item(chance, leaf)
    return ScriptLine(index, path, "do", cast(Behaviour, outcome), _amount(chance, outcome), code)


def _hanging(seed: int, setting: Targets, script: Sequence[ScriptLine], kinds: Sequence[int]) -> tuple[ScriptLine, ...]:
    """In some runs a handler says nothing for as long as anybody lets it."""
    chance = random.Random(f"{seed} hanging")
    if not kinds:
        return ()
    index = chance.randrange(len(kinds))
    steps = served(setting.sagas[kinds[index]])
    leaf, operation = chance.choice(steps), chance.choice(("do", "do", "undo"))
    taken = {(line.saga, line.step, line.operation) for line in script}
    if chance.random() > 0.15 or (operation == "undo" and not leaf.undo) or (index, leaf.path, operation) in taken:
        return ()
    outcome: Behaviour = "hangs" if chance.random() < 0.5 else "deaf"
    amount, path = float(chance.randint(1, 2)), in_some_item(chance, leaf)
    return (ScriptLine(index, path, cast(Literal["do", "undo"], operation), outcome, amount),)


def _amount(chance: random.Random, outcome: str) -> float:
    return round(chance.uniform(0.1, 45.0), 1) if outcome == "slow" else float(chance.randint(1, 3))


def _acts(chance: random.Random, starts: Sequence[float]) -> tuple[PersonAct, ...]:
    """Soon after the saga's start, most of them, while it is in the middle of something."""
    index = chance.randrange(len(starts))
    verb = chance.choice(_VERBS)
    at = round(max(starts) + 6.0 * chance.random() ** 4, 3)
    if verb != "pause":
        return (PersonAct(at, index, verb),)
    return (PersonAct(at, index, "pause"), PersonAct(round(at + chance.uniform(0.5, 30.0), 2), index, "resume"))


# --- what goes wrong --------------------------------------------------------------------------------------------------


def _faults(
    chance: random.Random, setting: Targets, orchestrators: int, sagas: int, kinds: Sequence[str]
) -> tuple[Fault, ...]:
    """A few kinds at a time, again and again: that goes deeper than a little of everything."""
    number = chance.choice((0, 1, 1, 2, 2, 3, 4, 6, 10)) + len(kinds)
    present = [p for p in setting.processes if not p.startswith("orchestrator-")]
    present += [f"orchestrator-{number}" for number in range(1, orchestrators + 1)]
    mixed = [kind for kind in _MIXED if orchestrators or kind != "deploy"]
    kinds = kinds or chance.sample(mixed, chance.choice((1, 2, 3, 6, len(mixed))))
    return tuple(_fault(chance, setting, chance.choice(kinds), present, sagas) for _ in range(number))


def _calls(seed: int, setting: Targets, sagas: int) -> tuple[Fault, ...]:
    """In some runs handlers lose their database in the middle, and do not notice."""
    chance = random.Random(f"{seed} calls")
    number = chance.choice((0, 0, 0, 0, 1, 2))
    return tuple(_counted(chance, setting, "away", setting.databases, sagas) for _ in range(number))


def _faults_beside(seed: int, setting: Targets) -> tuple[Fault, ...]:
    """What goes wrong with the second application alone, on top of what both share."""
    chance = random.Random(f"{seed} faults beside")
    kinds, present = ("crash", "pause", "cut_before", "nack", "delay"), [n for n in setting.processes if n != "client"]
    drawn = (_fault(chance, setting, chance.choice(kinds), present, 1) for _ in range(chance.choice((0, 1, 2))))
    return tuple(replace(fault, target=f"{BESIDE}{fault.target}") for fault in drawn)


def _fault(chance: random.Random, setting: Targets, kind: str, present: Sequence[str], sagas: int) -> Fault:
    if kind not in COUNTED_BY:
        return _timed(chance, setting, kind, present)
    publishers = [name for name in present if not name.startswith(("subscriber:", "outside:"))]
    targets = {"step": present, "write": setting.stores, "message": publishers or present}[COUNTED_BY[kind]]
    return _counted(chance, setting, kind, targets, sagas)


def _counted(chance: random.Random, setting: Targets, kind: str, targets: Sequence[str], sagas: int) -> Fault:
    target = chance.choice(targets)
    if kind == "lose" and chance.random() < 0.7:
        target = "store"
    usual = setting.occasions.get(f"{COUNTED_BY[kind]} {target}", 20) * max(sagas, 1)
    nth = 1 + int(chance.random() ** 1.5 * max(usual, 3))
    return Fault(cast(FaultKind, kind), target, nth, _how_much(chance, kind, target))


def _timed(chance: random.Random, setting: Targets, kind: str, processes: Sequence[str]) -> Fault:
    target = _target(chance, setting, kind, processes)
    return Fault(
        cast(FaultKind, kind), target, chance.choice((1, 1, 2, 2, 3, 3, 5, 9)), _how_much(chance, kind, target)
    )


def _target(chance: random.Random, setting: Targets, kind: str, processes: Sequence[str]) -> str:
    if kind in _BROKER_WIDE:
        return "broker"
    if kind == "deploy":
        return chance.choice([name for name in processes if name.startswith("orchestrator-")])
    return chance.choice(processes if kind in ("skew", "jump") else setting.queues)


def _how_much(chance: random.Random, kind: str, target: str) -> float:
    if kind not in _SPANS:
        return 0.0
    low, high = _SPANS[kind]
    if kind in ("skew", "jump") and target.startswith("orchestrator"):
        low, high = low * 10, high * (10 if kind == "skew" else 1)
    amount = low + (high - low) * chance.random() ** 2 if low > 0 else chance.uniform(low, high)
    return float(int(amount)) if kind == "lose" else round(amount, 2)

"""What comes on top of a plan, each by a chance of its own: so all else that follows from that seed stays as it is."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from choros_verify.simulation.faults import Fault
from choros_verify.simulation.nested_sagas import served
from choros_verify.simulation.plans_of_composites import more_acts, more_trouble
from choros_verify.simulation.plans_of_releases import more_releases
from choros_verify.simulation.plans_of_signals import more_later, more_queries, more_signals, more_updates
from choros_verify.simulation.script import IMPATIENT, PATIENT, Behaviour, RunPlan, ScriptLine, in_some_item
from choros_verify.simulation.targets import Targets

LONGEST_OUTAGE = 45.0
LONGEST_DEPLOY = 15.0
"""Seconds for which a service may lack a handler: what nobody takes for longer is parked."""
WAYS_TO_FORGE = 20
"""More than there are, for each kind of message: which one is meant is the rest."""


def with_additions(plan: RunPlan, setting: Targets) -> RunPlan:
    """The plan, with what is rare on top of it."""
    loses = any(fault.kind == "lose" for fault in plan.faults)  # then what is forgotten is asked for again
    impatient = _chance(plan, "patience").random() < 0.05 and not loses and bool(plan.starts)
    faults = (
        *_outages(plan, setting, impatient),
        *_denials(plan, setting),
        *_older(plan, setting),
        *_forgeries(plan, setting),
    )
    if not plan.starts:  # there are flows alone
        return replace(plan, faults=(*plan.faults, *faults))
    plan = replace(plan, script=(*plan.script, *_breaking(plan, setting), *more_trouble(plan, setting)))
    return replace(
        plan,
        faults=(*plan.faults, *faults),
        script=(*plan.script, *more_later(plan, setting)),
        acts=(
            *plan.acts,
            *more_acts(plan, setting),
            *more_signals(plan, setting),
            *more_updates(plan, setting),
            *more_queries(plan, setting),
            *more_releases(plan, setting),
        ),
        patience=IMPATIENT if impatient else PATIENT,
    )


def _chance(plan: RunPlan, what: str) -> random.Random:
    return random.Random(f"{plan.seed} {what}")


def _outages(plan: RunPlan, setting: Targets, impatient: bool) -> Iterator[Fault]:
    """A store or database that does not answer for a while; the store, as sagas start, where their callers are
    impatient."""
    chance = _chance(plan, "outage")
    if impatient or chance.random() < 0.06:
        target = "store" if impatient else chance.choice(["store", *setting.stores])
        second = max(1, int(min(plan.starts))) if impatient else chance.choice((1, 2, 3, 5))
        yield Fault("outage", target, second, round(chance.uniform(0.5, LONGEST_OUTAGE), 1))


def _denials(plan: RunPlan, setting: Targets) -> Iterator[Fault]:
    """A password that is being changed, say: a store that must not be used, and may be again."""
    chance = _chance(plan, "denied")
    if chance.random() < 0.06:
        yield Fault("deny", chance.choice(["store", *setting.stores]), 1 + int(chance.random() ** 2 * 10))


def _older(plan: RunPlan, setting: Targets) -> Iterator[Fault]:
    """A rolling deploy in which an older release takes over for a while, and does not handle everything."""
    chance = _chance(plan, "older")
    roles = [name for name in setting.processes if name.startswith(("service:", "subscriber:"))]
    if chance.random() < 0.08 and roles:
        seconds = round(chance.uniform(0.5, LONGEST_DEPLOY), 1)
        yield Fault("older", chance.choice(roles), chance.choice((1, 2, 3)), seconds)


def _forgeries(plan: RunPlan, setting: Targets) -> Iterator[Fault]:
    """Somebody who may publish sends what they must not."""
    chance = _chance(plan, "forge")
    services = [name for name in setting.processes if name.startswith("service:")]
    for _ in range(chance.choice((1, 2, 3)) if chance.random() < 0.15 else 0):
        target = chance.choice(["orchestrator-1"] * len(services) + services or ["client"])
        usual = setting.occasions.get(f"message {target}", 5)
        yield Fault("forge", target, 1 + int(chance.random() * usual), float(chance.randrange(WAYS_TO_FORGE)))


def _breaking(plan: RunPlan, setting: Targets) -> Sequence[ScriptLine]:
    """A handler raises what is no Exception."""
    chance = _chance(plan, "breaking")
    index = chance.randrange(len(plan.starts))
    leaf = chance.choice(served(setting.saga(plan, index)))
    operation = chance.choice(list(leaf.commands))
    taken = {(line.saga, line.step, line.operation) for line in plan.script}
    if chance.random() > 0.08 or (index, leaf.path, operation) in taken:
        return ()
    outcome: Behaviour = chance.choice(("panics", "cancels"))
    return (ScriptLine(index, in_some_item(chance, leaf), operation, outcome, float(chance.randint(1, 2))),)

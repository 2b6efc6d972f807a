"""What a plan has for the flows of an application: when they begin, and what their services do in them."""

import random
from collections.abc import Iterator
from dataclasses import replace

from choros_verify.simulation.faults import Fault, FaultKind
from choros_verify.simulation.script import Behaviour, FlowLine, RunPlan
from choros_verify.simulation.staged_flows import FlowPiece
from choros_verify.simulation.targets import Targets

_OUTCOMES: tuple[Behaviour, ...] = ("transient", "transient", "slow", "stuck", "panics", "cancels")
_LONGEST = 45.0
BEGUN_WITHIN = 600.0
"""Seconds for which the first fact of a flow may be told again, each time as begun then: nobody may forget sooner what
it did when it was told first."""
_LATE: tuple[FaultKind, ...] = ("delay", "duplicate", "cut_after", "reorder")
"""What happens to facts so that what takes something back overtakes what does it."""


def with_flows(plan: RunPlan, setting: Targets) -> RunPlan:
    """The plan, with flows, by a chance of their own; where there are no choreographies, the plan."""
    if not setting.flows:
        return plan
    chance = random.Random(f"{plan.seed} flows")
    begun = chance.choice((1, 1, 1, 2, 2, 3, 4)) + len(setting.flows.declared) - 1
    flows = tuple(sorted(round(1.0 + chance.uniform(0.0, 2.0), 3) for _ in range(begun)))
    reactions = tuple(line for index in range(begun) for line in _lines(chance, setting, index))
    forgets = plan.forgets + BEGUN_WITHIN if plan.forgets else 0.0
    faults = (*plan.faults, *_faults(chance, setting))
    return replace(plan, flows=flows, reactions=reactions, faults=faults, forgets=forgets)


def _lines(chance: random.Random, setting: Targets, index: int) -> Iterator[FlowLine]:
    """In a quarter of them all goes well; in most of the others somebody says no, and somebody else has trouble too."""
    pieces = setting.flows.pieces_of(index)
    saying_no = [piece for piece in pieces if piece.noes]
    troubled = chance.sample(pieces, min(len(pieces), chance.choice((0, 1, 1, 2, 3))))
    if saying_no and chance.random() < 0.5:
        no = chance.choice(saying_no)
        troubled = [piece for piece in troubled if piece is not no]
        yield FlowLine(index, no.name, "refused", code=chance.choice(no.noes).type_name)
    yield from (_line(chance, index, piece) for piece in troubled)


def _line(chance: random.Random, index: int, piece: FlowPiece) -> FlowLine:
    outcome = chance.choice(_OUTCOMES)
    if piece.reaction.gives_up and chance.random() < 0.5:
        outcome = "stuck"
    amount = round(chance.uniform(0.1, _LONGEST), 1) if outcome == "slow" else float(chance.randint(1, 3))
    return FlowLine(index, piece.name, outcome, amount)


def _faults(chance: random.Random, setting: Targets) -> Iterator[Fault]:
    """What strikes those who take part and publish, on top of what strikes anybody."""
    telling = {piece.reaction.service for piece in setting.flows.pieces if piece.reaction.tells}
    speaking = [f"subscriber:{service}" for service in sorted(telling)]
    for _ in range(chance.choice((0, 0, 1, 2, 4)) if speaking else 0):
        kind, target = chance.choice(_LATE), chance.choice(speaking)
        usual = setting.occasions.get(f"message {target}", 3)
        amount = round(chance.uniform(0.05, 60.0), 2) if kind == "delay" else 0.0
        yield Fault(kind, target, 1 + int(chance.random() * usual), amount)

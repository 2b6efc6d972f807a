"""A choreographed flow, explored: every order in which its facts may come to those who hear them, each of them late or
once more, every reaction with each of its outcomes, an undo before what it undoes, and what is given up.

A crash is a fact that comes again, and what is parked is one that comes late: a person sends it back. So the network is
the set of all that was told, and no budget bounds how often something comes; only what goes round is bounded.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from choros.app.flow_outline import FlowOutline
from choros_verify.exploration.flow_rules import ComesOut, FlowModel, FlowRules, FlowWorld
from choros_verify.exploration.violation import Violation, hold

MOST_FLOW_STATES = 500_000
FLOW_SCHEMA = "choros.verify.flow/1"
"""Raised when a field of the report changes its meaning or goes."""
ALL_RULES = FlowRules()


class FlowRest(NamedTuple):
    """What is true once nothing more happens, whatever the order was."""

    standing: frozenset[str]
    """The effects that are there: service and reaction."""
    ended: frozenset[str]
    """The ends that were told, by type name."""
    told: frozenset[str]
    """All that was told, by type name."""
    waiting: frozenset[str]
    """The reactions that wait for a person."""


@dataclass(frozen=True)
class FlowReport:
    """One exploration of one flow. As JSON: these fields, and nothing else; more may be added."""

    flow: str
    version: int
    complete: bool
    """Whether every interleaving within the budgets was visited."""
    states: int
    transitions: int
    seconds: float
    rounds: int
    """How often a reaction could tell the same fact, where the flow goes round."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """States in which nothing more happens, by the end that was told."""
    violation: str = ""
    invariant: int = 0
    story: tuple[str, ...] = ()
    """For a violation: the shortest way to it, in words."""
    rests: frozenset[FlowRest] = frozenset()

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        told = {name: value for name, value in asdict(self).items() if name != "rests"}
        return {"schema": FLOW_SCHEMA, **told, "held": not self.violation}


def explore_flow(
    flow: FlowOutline, *, rules: FlowRules = ALL_RULES, chosen: Mapping[int, ComesOut] | None = None, rounds: int = 2,
    most_states: int = MOST_FLOW_STATES,
) -> FlowReport:  # fmt: skip
    """Explore one flow; a violation is part of what is found. `chosen` says how reactions come out, by their place."""
    return _FlowWalk(FlowModel(flow, rules, chosen or {}, rounds)).run(most_states)


class _FlowWalk:
    """Breadth first, so that the first story that breaks something is the shortest there is."""

    def __init__(self, model: FlowModel) -> None:
        self._model, self._flow = model, model.outline
        self._from: dict[FlowWorld, tuple[FlowWorld | None, str]] = {}
        self._ends: Counter[str] = Counter()
        self._rests: set[FlowRest] = set()
        self._transitions = 0
        self._at = (model.first, "")

    def run(self, most_states: int) -> FlowReport:
        started, violation, story = time.perf_counter(), None, tuple[str, ...]()
        complete = True
        try:
            complete = self._walk(most_states)
        except Violation as broken:
            violation, story = broken, tuple(self._story())
        return FlowReport(
            self._flow.name, self._flow.version, complete and not violation,
            len(self._from), self._transitions, round(time.perf_counter() - started, 2), self._model.rounds,
            dict(sorted(self._ends.items())), violation.sentence if violation else "",
            violation.number if violation else 0, story, frozenset(self._rests),
        )  # fmt: skip

    def _walk(self, most_states: int) -> bool:
        first = self._model.first
        self._from[first] = (None, "")
        left = deque([first])
        while left:
            if len(self._from) > most_states:
                return False
            left.extend(self._expanded(left.popleft()))
        return not any(world.cut for world in self._from)

    def _expanded(self, world: FlowWorld) -> Iterator[FlowWorld]:
        moved = False
        self._at = (world, "")
        for said, after in self._model.after(world):
            self._transitions += 1
            moved = moved or after != world
            if after not in self._from:
                self._at = (world, said)
                self._judge(after)
                self._from[after] = (world, said)
                yield after
        self._at = (world, "")
        if not moved and not world.cut:
            self._rest(world)

    def _judge(self, world: FlowWorld) -> None:
        """What holds in every state."""
        flow, facts = self._flow, self._model.types(world)
        ends = [told for told in world.told if flow.facts[told.fact] in (*flow.good, *flow.bad)]
        hold(len(ends) <= 1, "the flow has ended twice", 6)
        retracted = flow.retraction in facts
        for number, effect in enumerate(flow.reactions):
            if effect not in flow.effects:
                continue
            there = world.stands[number]
            hold(there <= 1, f"the effect of {effect.said} is there twice", 1)
            hold(there >= 0, f"the effect of {effect.said} is undone twice", 4)
            bad = next((fact for fact in flow.bad if fact in facts), None)
            hold(not (bad and there), f"the flow has ended with {bad and bad.__name__}, and {effect.said} stands", 3)
            undone = world.rows[number] == "undone" and not facts.isdisjoint(flow.good)
            hold(retracted or not undone, f"{effect.said} is undone, and the flow has ended well", 7)
            self._judge_told(world, number)

    def _judge_told(self, world: FlowWorld, number: int) -> None:
        flow, effect = self._flow, self._flow.reactions[number]
        never = world.rows[number] not in ("ok", "undone")
        for told in world.told if never else ():
            fact = flow.facts[told.fact]
            said = told.by == number and fact in flow.yeses(effect)
            hold(not said, f"{effect.said} has said {fact.__name__}, and has done nothing", 8)

    def _rest(self, world: FlowWorld) -> None:
        """What holds where nothing more happens."""
        flow, facts = self._flow, self._model.types(world)
        ended = frozenset(fact.type_name for fact in facts if fact in (*flow.good, *flow.bad))
        standing = frozenset(
            one.said for n, one in enumerate(flow.reactions) if world.stands[n] and one in flow.effects
        )
        waiting = frozenset(flow.reactions[number].said for number in self._model.waiting(world))
        if flow.retraction in facts:
            hold(not standing or waiting, f"the flow is taken back, and {', '.join(sorted(standing))} stands", 3)
        elif not waiting:
            told = ", ".join(fact.__name__ for fact in flow.facts if fact in facts)
            hold(ended, f"the flow never ends: nothing more comes of {told}", 5)
        self._ends[", ".join(sorted(ended)) or ("taken back" if flow.retraction in facts else "parked")] += 1
        self._rests.add(FlowRest(standing, ended, frozenset(fact.type_name for fact in facts), waiting))

    def _story(self) -> Iterator[str]:
        """The shortest way to where it is, and what it was about to do."""
        world: FlowWorld | None
        world, last = self._at
        told = [last] if last else []
        while world is not None:
            world, said = self._from[world]
            told.append(said)
        yield f"Somebody says {self._flow.start.__name__}"
        yield from (said for said in reversed(told) if said)


def flow_report_lines(told: FlowReport) -> list[str]:
    """The report as a person reads it."""
    ends = ", ".join(f"{end} in {count:,}" for end, count in told.ends.items()) or "none"
    out = [
        f"choreography {told.flow} (version {told.version}): {told.states:,} states, {told.transitions:,} transitions,"
        f" {told.seconds:.1f} s",
        f"  budgets: facts in any order, late and any number of times; a fact told by one reaction {told.rounds} times"
        " at most",
        f"  ends: {ends}",
    ]
    if told.violation:
        out += [f"✖ {told.violation} (invariant {told.invariant})", "  The shortest story that leads there:"]
        out += [f"  {number}. {sentence}" for number, sentence in enumerate(told.story, 1)]
    elif told.complete:
        out.append("✔ complete: every interleaving within these budgets, and no promise was broken")
    else:
        out.append("ℹ NOT complete: stopped at its cap of states or rounds; no promise was broken so far")
    return out


FLOW_MUTANTS: Mapping[str, tuple[str, FlowRules]] = {
    "no inbox": ("A fact that comes again is handled again.", FlowRules(inbox=False)),
    "no tombstone": ("An undo that overtakes what it undoes is forgotten.", FlowRules(tombstones=False)),
    "no undo row": ("Each bad fact undoes once more.", FlowRules(undo_row=False)),
    "told though withdrawn": (
        "What is not done any more tells that it is done.", FlowRules(silent_when_withdrawn=False)
    ),
    "no without rollback": ("What said no leaves its effect.", FlowRules(rollback=False)),
    "gives up without tombstone": (
        "Who gives up may do it later after all.", FlowRules(gives_up_for_good=False)
    ),
    "gives up what is done": ("Who gives up does not read its row first.", FlowRules(row_read_first=False)),
    "join fires on one": ("What waits for several facts begins with the first.", FlowRules(joins=False)),
    "closer without row": ("Every end that the closer comes to is told.", FlowRules(closer_row=False)),
    "undo of nothing is silent": ("An undo that finds nothing tells nothing.", FlowRules(undo_tells=False)),
}  # fmt: skip
"""Each rule taken out, by name, with what happens then."""


def flow_mutants(flow: FlowOutline, most_states: int = MOST_FLOW_STATES) -> Iterator[tuple[str, str, FlowReport]]:
    """The flow without each rule, in the order in which they are listed; one that it does not need breaks nothing."""
    for name, (what, rules) in FLOW_MUTANTS.items():
        yield name, what, explore_flow(flow, rules=rules, most_states=most_states)

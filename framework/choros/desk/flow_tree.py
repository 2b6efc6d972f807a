"""A flow as a tree of causes, and what should still happen in it. Pure: what was found goes in, a value comes out.

A fact is caused by what was handled: a fact, then it stands under the reaction to that; or the work of a saga, then it
stands under the saga. Beside what has happened stands what should: each subscriber that the declarations name for a
fact either has handled it, or is said to lack it, why, and since when. Nobody is said to lack a fact whose inbox was
not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from choros.desk.dead_letters import DeadLetter
from choros.desk.hearsay import NO_TERMS, FlowTerms, Hearer
from choros.runtime.host.presence import absent, told
from choros.store.barrier import RowState
from choros.store.sagas import Record
from choros.transport.port import Seen
from choros.wire.envelope import Envelope

ReactionState = Literal["handled", "joined", "waiting", "late", "missing", "parked", "unknown", "forgotten"]
"""handled: so it is; joined: taken, and further facts are waited for; waiting: nothing is wrong by now; late: its
subscriber is at work, and should have handled it; missing: nobody is there to handle it; parked: it is a dead letter;
unknown: its inbox was not asked; forgotten: that is too long ago for its inbox."""
OPEN: tuple[ReactionState, ...] = ("missing", "late", "parked")
"""What somebody has to see to."""
LATE_AFTER = 10.0
"""Seconds after which a fact should be handled where somebody is at work."""


# --- what was found ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TracedFact:
    """A fact of the flow, wherever it was found."""

    envelope: Envelope
    places: tuple[str, ...]
    leaving: bool = False
    """Whether its publisher's database says that no broker has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxNote:
    """What the inbox of one subscriber says about one fact."""

    handled: bool
    at: float | None = None
    """When, if it says."""
    forgotten: bool = False
    """Whether it may have forgotten it."""
    passed_over: bool = False
    """Whether it is none of those that this subscriber wants."""
    effect: RowState | None = None
    """How far what is done about it, or taken back by it, has come, where a row says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """What became of a command of a saga."""

    path: str
    operation: str
    service: str
    came_to: str
    """In a word, such as `sent`, `replied`, `refused`, `undone`."""
    code: str
    since: float
    at: float
    nested: str = ""
    """The id of the saga that it is about, where it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedSaga:
    """A saga of the flow."""

    record: Record
    steps: tuple[TracedStep, ...]


@dataclass(slots=True)
class FlowRows:
    """All that was found of a flow."""

    now: float
    facts: dict[str, TracedFact] = field(default_factory=dict)
    """By id."""
    sagas: dict[str, TracedSaga] = field(default_factory=dict)
    """By id."""
    begun: dict[str, Sequence[str]] = field(default_factory=dict)
    """The sagas that a fact is to begin, by its id."""
    notes: dict[tuple[str, str], InboxNote] = field(default_factory=dict)
    """By subscriber and fact; of each that was asked."""
    letters: dict[tuple[str, str], DeadLetter] = field(default_factory=dict)
    """By queue and fact."""
    queues: dict[str, Seen] = field(default_factory=dict)
    unreached: list[str] = field(default_factory=list)
    """What could not be read, each in a sentence."""


# --- what it comes to -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FactNode:
    """A fact, and what its subscribers made of it."""

    fact: TracedFact
    by: str
    """Who published it."""
    reactions: tuple[ReactionNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionNode:
    """What one subscriber made of a fact, or should make of it."""

    hearer: Hearer
    standing: ReactionState
    since: float | None
    """When it was handled or parked; else since when it waits."""
    why: str
    then: tuple[FactNode | SagaNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaNode:
    """A saga, and what came of it."""

    saga: TracedSaga
    then: tuple[FactNode | SagaNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StillToCome:
    """What should still happen."""

    fact: Envelope
    reaction: ReactionNode


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOverdue:
    """A flow that has not ended in the time that it is given; nobody's timer says so."""

    flow: str
    flow_id: str
    began: float
    within: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTree:
    """A flow from its beginnings on."""

    roots: tuple[FactNode | SagaNode, ...]
    to_come: tuple[StillToCome, ...]
    """The reactions that are not handled, by the age of their facts."""
    unreached: tuple[str, ...]
    overdue: tuple[FlowOverdue, ...] = ()

    @property
    def open(self) -> Sequence[StillToCome]:
        """Those that somebody has to see to."""
        return [one for one in self.to_come if one.reaction.standing in OPEN]


def flow_tree(
    rows: FlowRows, hearers: Mapping[str, Sequence[Hearer]], terms: Mapping[tuple[str, int], FlowTerms] = NO_TERMS
) -> FlowTree:
    """What was found, as a tree; `hearers` by type of fact, `terms` of flows by name and version."""
    planted = _Planting(rows, hearers)
    roots = planted.roots()
    to_come = sorted(_to_come(roots), key=lambda one: one.fact.time)
    overdue = tuple(_overdue(rows, terms))
    return FlowTree(roots=roots, to_come=tuple(to_come), unreached=tuple(rows.unreached), overdue=overdue)


def _overdue(rows: FlowRows, terms: Mapping[tuple[str, int], FlowTerms]) -> Iterator[FlowOverdue]:
    flows: dict[str, list[Envelope]] = {}
    for fact in rows.facts.values():
        if fact.envelope.flow_id:
            flows.setdefault(fact.envelope.flow_id, []).append(fact.envelope)
    for id, facts in flows.items():
        its = terms.get((facts[0].flow, facts[0].flow_version))
        began = min(fact.time if fact.began is None else fact.began for fact in facts)
        if its and rows.now - began > its.within and not any(fact.type in its.ends for fact in facts):
            yield FlowOverdue(flow=facts[0].flow, flow_id=id, began=began, within=its.within)


def _to_come(nodes: Iterable[FactNode | SagaNode]) -> Iterator[StillToCome]:
    for node in nodes:
        if isinstance(node, SagaNode):
            yield from _to_come(node.then)
            continue
        for reaction in node.reactions:
            if reaction.standing not in ("handled", "forgotten"):
                yield StillToCome(fact=node.fact.envelope, reaction=reaction)
            yield from _to_come(reaction.then)


def said_by(fact: Envelope) -> str:
    """Who published it, as its source has it: `payment`, `program till`, `saga order`."""
    kind, _, name = fact.source.rpartition("/")
    if kind.endswith("/service"):
        return name
    if kind.endswith("/program"):
        return f"program {name}"
    return f"saga {fact.saga}" if fact.saga and fact.stream == fact.correlation_id else name


class _Planting:
    """Puts each thing under what caused it; none twice, so that no circle has an end nowhere."""

    def __init__(self, rows: FlowRows, hearers: Mapping[str, Sequence[Hearer]]) -> None:
        self._rows, self._hearers = rows, hearers
        self._under: dict[tuple[str, str], list[TracedFact]] = {}
        self._of_saga: dict[str, list[TracedFact]] = {}
        self._planted: set[str] = set()
        self._caused = {step.nested for saga in rows.sagas.values() for step in saga.steps if step.nested}
        self._caused |= {saga_id for ids in rows.begun.values() for saga_id in ids}
        self._rest = [fact for fact in self._by_time(rows.facts.values()) if not self._sorted(fact)]

    @staticmethod
    def _by_time(facts: Iterable[TracedFact]) -> list[TracedFact]:
        return sorted(facts, key=lambda one: (one.envelope.time, one.envelope.source, one.envelope.seq))

    def _sorted(self, fact: TracedFact) -> bool:
        """Whether what has caused it is known, and so where it stands."""
        said = fact.envelope
        if said.causation_id in self._rows.facts and not _is_of_saga(said):
            self._under.setdefault((said.causation_id, said_by(said)), []).append(fact)
        elif said.correlation_id in self._rows.sagas:
            self._of_saga.setdefault(said.correlation_id, []).append(fact)
        else:
            return False
        return True

    def roots(self) -> tuple[FactNode | SagaNode, ...]:
        """Sagas that nothing here began, facts whose cause is not known; at last what only its own circle leads to."""
        begun = [one for saga_id, one in self._rows.sagas.items() if saga_id not in self._caused]
        nodes = [*self._facts(self._rest), *self._sagas(one.record.saga_id for one in begun)]
        nodes += self._sagas(self._rows.sagas)
        nodes += self._facts(self._by_time(self._rows.facts.values()))
        return tuple(sorted(nodes, key=_begun_at))

    def _facts(self, facts: Iterable[TracedFact]) -> list[FactNode | SagaNode]:
        fresh = [one for one in facts if one.envelope.id not in self._planted]
        return [self._fact(one) for one in fresh if self._is_new(one.envelope.id)]

    def _sagas(self, ids: Iterable[str]) -> list[FactNode | SagaNode]:
        there = [self._rows.sagas[one] for one in ids if one in self._rows.sagas]
        return [self._saga(one) for one in there if self._is_new(f"saga {one.record.saga_id}")]

    def _is_new(self, name: str) -> bool:
        fresh = name not in self._planted
        self._planted.add(name)
        return fresh

    def _saga(self, saga: TracedSaga) -> SagaNode:
        nested = self._sagas(step.nested for step in saga.steps)
        return SagaNode(saga=saga, then=(*nested, *self._facts(self._of_saga.get(saga.record.saga_id, ()))))

    def _fact(self, fact: TracedFact) -> FactNode:
        said = fact.envelope
        declared = [one for one in self._hearers.get(said.type, ()) if not self._is_passed_over(one, said)]
        names = {one.name for one in declared}
        others = sorted({by for id, by in self._under if id == said.id and by not in names})
        declared += [Hearer(fact=said.type, name=by, queue="") for by in others]
        return FactNode(fact=fact, by=said_by(said), reactions=tuple(self._reaction(fact, one) for one in declared))

    def _is_passed_over(self, hearer: Hearer, fact: Envelope) -> bool:
        note = self._rows.notes.get((hearer.name, fact.id))
        return note is not None and note.passed_over

    def _reaction(self, fact: TracedFact, hearer: Hearer) -> ReactionNode:
        said = self._under.get((fact.envelope.id, hearer.name), [])
        standing, since, why = self._standing(fact, hearer, said)
        then = self._facts(said)
        if hearer.sagas:
            then += self._sagas(self._rows.begun.get(fact.envelope.id, ()))
        return ReactionNode(hearer=hearer, standing=standing, since=since, why=why, then=tuple(then))

    def _standing(
        self, fact: TracedFact, hearer: Hearer, said: Sequence[TracedFact]
    ) -> tuple[ReactionState, float | None, str]:
        """How far it is, since when, and why."""
        id, note = fact.envelope.id, self._rows.notes.get((hearer.name, fact.envelope.id))
        if note and note.handled:
            return _handled(note, hearer)
        if said:
            return "handled", said[0].envelope.time, ""
        if letter := self._rows.letters.get((hearer.queue, id)):
            return "parked", letter.parked_at, letter.reason
        if note is None:
            return "unknown", fact.envelope.time, "its inbox was not asked"
        if note.forgotten:
            return "forgotten", fact.envelope.time, "its inbox may have forgotten it"
        if fact.leaving:
            return "waiting", fact.envelope.time, f"the fact has not left {said_by(fact.envelope)} yet"
        return self._unhandled(fact.envelope, hearer)

    def _unhandled(self, fact: Envelope, hearer: Hearer) -> tuple[ReactionState, float, str]:
        seen = self._rows.queues.get(hearer.queue, Seen("untold"))
        why = told(seen, hearer.name, hearer.queue) or "whether anybody is there to handle it is not known"
        if seen.consumers and not seen.waiting:
            why = f"{why}; or it has failed, and will be tried again (its log: choros.fact.failed)"
        if not absent(seen) and self._rows.now - fact.time < LATE_AFTER:
            return "waiting", fact.time, why
        return "missing" if absent(seen) or seen.state == "untold" else "late", fact.time, why


def _handled(note: InboxNote, hearer: Hearer) -> tuple[ReactionState, float | None, str]:
    """What its inbox has taken in may wait for others, or have come to nothing."""
    if note.effect == "waiting":
        return "joined", note.at, f"it waits for {' and '.join(hearer.beside) or 'others'} as well"
    why = ""
    if note.effect == "tombstone":
        why = "there was nothing to take back" if hearer.undoes else "it had been taken back before"
    elif note.effect == "refused":
        why = "there was nothing to take back" if hearer.undoes else "refused"
    return "handled", note.at, why


def _is_of_saga(fact: Envelope) -> bool:
    """Whether a saga has published it: what caused that is a reply, or what it was begun by."""
    return bool(fact.saga) and said_by(fact) == f"saga {fact.saga}"


def _begun_at(node: FactNode | SagaNode) -> float:
    return node.saga.record.started_at if isinstance(node, SagaNode) else node.fact.envelope.time

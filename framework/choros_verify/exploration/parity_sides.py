"""A saga and a flow as the same thing to who compares them: pieces of work, and what is true when they have rested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from choros.app.flow_outline import FlowOutline, FlowReaction
from choros.errors import UsageError
from choros.messages import Closed, Done, Failure
from choros.saga.machine import machine
from choros.saga.machine.inputs import Answered, Decision, Input, TimerFired
from choros.saga.machine.instance import Instance, NodeState
from choros.saga.outline import Commanded, Leaf
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from choros_verify.exploration.flow_rules import ComesOut
from choros_verify.exploration.flows import explore_flow
from choros_verify.exploration.times import EARLY, NOW, Moment, timed, timeless
from choros_verify.simulation.invention import invent

Exhausted = Literal["is undone", "waits for a person"]
WorkOutcome = Literal["done", "refused", "exhausted"]


class WorkPiece(NamedTuple):
    """A piece of work that both may have done: what one service does."""

    refusable: bool
    exhausted: Exhausted
    """What becomes of it once it was tried for the last time."""
    undoable: bool


class Vector(NamedTuple):
    """How each piece of work comes out, and whose undo does not work."""

    outcomes: tuple[tuple[str, WorkOutcome], ...]
    undo_fails: str = ""

    def __str__(self) -> str:
        failing = [f"the undo of {self.undo_fails} fails"] if self.undo_fails else []
        return ", ".join([*(f"{name} is {how}" for name, how in self.outcomes), *failing])


class AtRest(NamedTuple):
    """What is true once nothing more happens."""

    standing: frozenset[str]
    """The work that is done, but for what waits for a person: of that nobody can say."""
    ended: frozenset[str]
    heard: frozenset[tuple[str, str]]
    """What those heard who only listen: who, and which type; without what was taken back again."""
    waits: frozenset[str]
    """The work that waits for a person."""

    def __str__(self) -> str:
        parts = [
            f"ends with {_several(self.ended)}" if self.ended else "does not end",
            f"{_several(self.standing)} stands" if self.standing else "nothing stands",
            *([f"{_several(self.waits)} waits for a person"] if self.waits else []),
            *([f"{_several(f'{who}: {what}' for who, what in self.heard)} is heard"] if self.heard else []),
        ]
        return ", ".join(parts)


class ParitySide(Protocol):
    """One of the two that are compared."""

    said: str
    works: Mapping[str, WorkPiece]

    def rests(self, vector: Vector) -> frozenset[AtRest]:
        """Everything that it may come to with these outcomes, whatever the order is."""
        ...


OutsideHearers = Mapping[str, Iterable[str]]
"""Who hears a fact and has no part in it, by the fact's type name."""


class FlowSide:
    """A choreography, by its effects."""

    def __init__(self, flow: FlowOutline, listeners: OutsideHearers) -> None:
        self.said = f"choreography {flow.name!r}"
        self._flow, self._listeners = flow, listeners
        labels = _labels((one.service, one.name) for one in flow.effects)
        self._labels = {one.said: labels[one.service, one.name] for one in flow.effects}
        self._labels |= {
            undo.said: self._labels[one.said] for one in flow.effects for undo in flow.undoers(one)
        }  # fmt: skip
        self.works: Mapping[str, WorkPiece] = {self._labels[one.said]: self._work(one) for one in flow.effects}

    def _work(self, effect: FlowReaction) -> WorkPiece:
        flow = self._flow
        exhausted: Exhausted = "is undone" if effect.gives_up else "waits for a person"
        return WorkPiece(bool(flow.noes(effect)), exhausted, bool(flow.undoers(effect)))

    def rests(self, vector: Vector) -> frozenset[AtRest]:
        found = explore_flow(self._flow, chosen=self._chosen(vector))
        if found.violation:
            raise UsageError(f"{self.said} breaks a promise: {found.violation}.", "choros verify, for it alone.")
        taken_back = self._flow.retraction and self._flow.retraction.type_name
        return frozenset(self._at_rest(*one) for one in found.rests if taken_back not in one.told)

    def _chosen(self, vector: Vector) -> Mapping[int, ComesOut]:
        chosen: dict[int, ComesOut] = {}
        for number, reaction in enumerate(self._flow.reactions):
            label = self._labels.get(reaction.said, "")
            if reaction.undoes is not None and label and label == vector.undo_fails:
                chosen[number] = "parks"
            elif reaction.undoes is None and label:
                chosen[number] = self._comes_out(reaction, dict(vector.outcomes)[label])
        return chosen

    def _comes_out(self, reaction: FlowReaction, outcome: WorkOutcome) -> ComesOut:
        if outcome == "exhausted":
            return "gives up" if reaction.gives_up else "parks"
        return "yes" if outcome == "done" else "no"

    def _at_rest(
        self, standing: frozenset[str], ended: frozenset[str], told: frozenset[str], waiting: frozenset[str]
    ) -> AtRest:
        waits = frozenset(self._labels.get(said, said) for said in waiting)
        there = frozenset(self._labels[said] for said in standing)
        return AtRest(there - waits, ended, _heard(told - self._taken_back(told), self._listeners), waits)

    def _taken_back(self, told: frozenset[str]) -> frozenset[str]:
        """What was told and taken back, with what took it back."""
        gone = set[str]()
        for effect in self._flow.effects:
            undone = {fact.type_name for undo in self._flow.undoers(effect) for fact in undo.publishes}
            if undone & told:
                gone |= undone | {fact.type_name for fact in self._flow.yeses(effect) if fact}
        return frozenset(gone)


class SagaSide:
    """A saga, by what it commands."""

    def __init__(self, saga: Saga[Any], listeners: OutsideHearers) -> None:
        self.said = f"saga {saga.name!r}"
        self._saga, self._listeners = saga, listeners
        for leaf in saga.outline.leaves.values():
            _check_comparable(self.said, leaf)
        labels = _labels((leaf.to, leaf.path) for leaf in saga.outline.commands)
        self._labels = {leaf.path: labels[leaf.to, leaf.path] for leaf in saga.outline.commands}
        self.works: Mapping[str, WorkPiece] = {
            self._labels[leaf.path]: _work_of(leaf) for leaf in saga.outline.commands
        }
        self._body = invent(saga.start).to_json()
        self._closing = {
            kind.type_name for one in (*saga.outline.completed, *saga.outline.compensated) for kind in one.kinds
        }  # fmt: skip

    def rests(self, vector: Vector) -> frozenset[AtRest]:
        begun = machine.begin(self._saga.tree, "p", self._body, NOW, cause="start")
        left = [self._after(_SagaWorld(begun.instance), begun)]
        seen, found = set(left), set[AtRest]()
        while left:
            world = left.pop()
            moves = set(self._moves(world, vector))
            if not moves:
                found.add(self._at_rest(world))
            left += moves - seen
            seen |= moves
        return frozenset(found)

    def _moves(self, world: _SagaWorld, vector: Vector) -> Iterator[_SagaWorld]:
        for path, state in world.instance.nodes.items():
            leaf = self._saga.outline.commanded(path)
            if leaf and state.leg and not state.parked and not world.instance.terminal:
                yield from self._answers(world, leaf, state, vector)

    def _answers(self, world: _SagaWorld, leaf: Commanded, state: NodeState, vector: Vector) -> Iterator[_SagaWorld]:
        assert state.leg is not None
        key = CommandKey(world.instance.saga_id, leaf.path, state.round, state.leg.operation)
        there, gone = world.standing | {leaf.path}, world.standing - {leaf.path}
        label = self._labels[leaf.path]
        outcome = dict(vector.outcomes)[label]
        if key.operation == "undo":
            fails = label == vector.undo_fails
            if fails:  # an effect that nobody has heard of may be there, or not: then there is nothing to undo
                yield self._in_doubt(world, leaf)
            if not fails or leaf.path not in world.standing:
                yield self._decided(world._replace(standing=gone), _answer(key, Done()))
        elif key.operation == "close":
            yield self._decided(world, _answer(key, Closed()))
        elif outcome == "done":
            reply = invent(leaf.command_of(state.choice).reply_type)
            yield self._decided(world._replace(standing=there), _answer(key, reply))
        elif outcome == "refused":
            code = leaf.refusals[0]
            refusal = Answered("reply", key, state.leg.attempt, "refused", Failure(code=code).to_json(), code)
            yield self._decided(world, refusal)
        else:
            yield from (self._in_doubt(world._replace(standing=one), leaf) for one in (there, gone))

    def _in_doubt(self, world: _SagaWorld, leaf: Commanded) -> _SagaWorld:
        return self._decided(world, TimerFired(), Moment(frozenset({leaf.path}), frozenset({leaf.path})))

    def _decided(self, world: _SagaWorld, given: Input, moment: Moment = EARLY) -> _SagaWorld:
        return self._after(world, machine.decide(self._saga.tree, timed(world.instance, moment), [given], NOW))

    def _after(self, world: _SagaWorld, decision: Decision) -> _SagaWorld:
        told = world.told | {fact.type for fact in decision.facts}
        return world._replace(instance=timeless(decision.instance), told=told)

    def _at_rest(self, world: _SagaWorld) -> AtRest:
        parked = world.instance.status == "parked"
        waits = frozenset(self._labels[path] for path in world.instance.parked_at) if parked else frozenset[str]()
        there = frozenset(self._labels[path] for path in world.standing)
        told = world.told - self._taken_back(world.told)
        return AtRest(there - waits, world.told & self._closing, _heard(told, self._listeners), waits)

    def _taken_back(self, told: frozenset[str]) -> frozenset[str]:
        gone = set[str]()
        for leaf in self._saga.outline.publications:
            undone = {kind.type_name for kind in leaf.undo.kinds} if leaf.undo else set[str]()
            if undone & told:
                gone |= undone | {kind.type_name for kind in leaf.action.kinds}
        return frozenset(gone)


class _SagaWorld(NamedTuple):
    """A saga, and what it has had done and told."""

    instance: Instance
    standing: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()


def _work_of(leaf: Commanded) -> WorkPiece:
    undone = "in_doubt" in leaf.turns_on
    return WorkPiece(bool(leaf.refusals), "is undone" if undone else "waits for a person", leaf.undo is not None)


def _check_comparable(said: str, leaf: Leaf) -> None:
    strange = leaf.signals or leaf.nests or not leaf.builders
    if strange or (isinstance(leaf, Commanded) and leaf.existing):
        raise UsageError(
            f"{said} cannot be compared: {leaf.path} is a {leaf.kind}.", "a saga that only commands and publishes."
        )


def _answer(key: CommandKey, reply: Any) -> Answered:
    return Answered("reply", key, 1, "ok", reply.to_json())


def _labels(works: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """Each piece of work by its service; by its own name too, where a service does several."""
    named = list(works)
    count = Counter(service for service, _ in named)
    return {(service, name): service if count[service] == 1 else f"{service}.{name}" for service, name in named}


def _heard(told: Iterable[str], listeners: OutsideHearers) -> frozenset[tuple[str, str]]:
    return frozenset((who, fact) for fact in told for who in listeners.get(fact, ()))


def _several(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))

"""Two declarations at parity: for every way their work comes out, the same is true once nothing more happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from typing import Any

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.errors import UsageError
from choros.saga.saga import Saga
from choros_verify.exploration.parity_sides import (
    AtRest,
    FlowSide,
    OutsideHearers,
    ParitySide,
    SagaSide,
    Vector,
    WorkOutcome,
    WorkPiece,
)

MOST_VECTORS = 5_000
MOST_DIFFERENCES = 5
"""Told in full."""
Compared = Saga[Any] | Choreography[Any]


@dataclass(frozen=True)
class ParityReport:
    """What came of a comparison. As JSON: these fields, and nothing else; more may be added."""

    one: str
    other: str
    vectors: int
    """How many ways of coming out were compared."""
    differences: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    """What only one of them knows, so that nothing is said about it."""

    @property
    def held(self) -> bool:
        """Whether they are at parity, as far as they were compared."""
        return not self.differences

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return {**asdict(self), "held": self.held}

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        yield f"{self.one} and {self.other}: compared in {self.vectors:,} ways of coming out"
        yield from (f"ℹ not compared: {sentence}" for sentence in self.not_compared)
        yield from (f"✖ {sentence}" for sentence in self.differences[:MOST_DIFFERENCES])
        more = len(self.differences) - MOST_DIFFERENCES
        yield from [f"✖ and {more} more"] if more > 0 else []
        yield from [] if self.differences else ["✔ at parity: the same effects, ends, facts heard, and what is parked"]


def parity(
    one: tuple[App, Compared], other: tuple[App, Compared], *, same: Mapping[str, str] | None = None
) -> ParityReport:
    """Compare two declarations, each with the application that it stands in.

    Work is the same where one service does it; where a service does several pieces, each goes by the service and the
    name of its step or reaction, `payment.charge`, and `same` says which of the first is which of the other. Raises
    UsageError for what cannot be compared.
    """
    sides = _side(*one), _side(*other)
    renamed = _Renamed(sides[0], same or {})
    return _compared(renamed, sides[1], _not_compared(one[1], other[1]))


def _side(app: App, declared: Compared) -> ParitySide:
    if isinstance(declared, Saga):
        return SagaSide(declared, _listeners(app, {leaf.to for leaf in declared.outline.commands}))
    return FlowSide(declared.outline, _listeners(app, {*declared.services}))


def _listeners(app: App, taking_part: set[str]) -> OutsideHearers:
    """Who hears what, of those that have no part in it."""
    heard: dict[str, list[str]] = {}
    for service in app.services.values():
        if service.name not in taking_part:
            for fact in service.facts:
                heard.setdefault(fact.type_name, []).append(service.name)
    return heard


class _Renamed:
    """A side whose work goes by the names of the other one."""

    def __init__(self, side: ParitySide, names: Mapping[str, str]) -> None:
        strange = next((name for name in names if name not in side.works), "")
        if strange:
            raise UsageError(f"{side.said} has no work {strange!r}.", f"one of {', '.join(side.works)}.")
        self.said = side.said
        self._side, self._names = side, names
        self.works: Mapping[str, WorkPiece] = {names.get(name, name): work for name, work in side.works.items()}

    def rests(self, vector: Vector) -> frozenset[AtRest]:
        back = {new: old for old, new in self._names.items()}
        outcomes = tuple((back.get(name, name), how) for name, how in vector.outcomes)
        asked = Vector(outcomes, back.get(vector.undo_fails, vector.undo_fails))
        return frozenset(
            one._replace(standing=self._new(one.standing), waits=self._new(one.waits))
            for one in self._side.rests(asked)
        )

    def _new(self, names: frozenset[str]) -> frozenset[str]:
        return frozenset(self._names.get(name, name) for name in names)


def _compared(one: ParitySide, other: ParitySide, not_compared: tuple[str, ...]) -> ParityReport:
    unlike = tuple(_unlike(one, other))
    if one.works.keys() != other.works.keys():
        return ParityReport(one.said, other.said, 0, unlike, not_compared)
    vectors = list(_vectors(one, other))
    different = [said for vector in vectors for said in _different(one, other, vector)]
    return ParityReport(one.said, other.said, len(vectors), (*unlike, *different), not_compared)


def _unlike(one: ParitySide, other: ParitySide) -> Iterator[str]:
    """What is declared otherwise."""
    for side, without in ((one, other), (other, one)):
        yield from (f"{name} works in {side.said} only" for name in side.works if name not in without.works)
    for name, work in one.works.items():
        theirs = other.works.get(name, work)
        if work.refusable != theirs.refusable:
            yes, no = (one, other) if work.refusable else (other, one)
            yield f"{name} may refuse in {yes.said}, and not in {no.said}"
        if work.exhausted != theirs.exhausted:
            yield (
                f"{name}, once tried for the last time, {work.exhausted} in {one.said}, and {theirs.exhausted} in"
                f" {other.said}"
            )
        if work.undoable != theirs.undoable:
            yes, no = (one, other) if work.undoable else (other, one)
            yield f"{name} can be undone in {yes.said}, and not in {no.said}"


def _vectors(one: ParitySide, other: ParitySide) -> Iterator[Vector]:
    """Every way of coming out that both know."""
    names = list(one.works)
    ways: list[list[WorkOutcome]] = []
    for name in names:
        mine, theirs = one.works[name], other.works[name]
        refused: list[WorkOutcome] = ["refused"] if mine.refusable and theirs.refusable else []
        exhausted: list[WorkOutcome] = ["exhausted"] if mine.exhausted == theirs.exhausted else []
        ways.append(["done", *refused, *exhausted])
    if prod(map(len, ways)) > MOST_VECTORS:
        raise UsageError(f"They may come out in {prod(map(len, ways)):,} ways.", f"{MOST_VECTORS:,} at most.")
    for outcomes in product(*ways):
        vector = Vector(tuple(zip(names, outcomes, strict=True)))
        yield vector
        undone = (name for name, how in vector.outcomes if how == "done" and one.works[name].undoable)
        yield from (vector._replace(undo_fails=name) for name in undone)


def _different(one: ParitySide, other: ParitySide, vector: Vector) -> Iterator[str]:
    mine, theirs = one.rests(vector), other.rests(vector)
    if mine != theirs:
        told = [f"{side.said} {_or(found)}" for side, found in ((one, mine), (other, theirs))]
        yield f"where {vector}: {'; '.join(told)}"


def _or(found: frozenset[AtRest]) -> str:
    return ", or it ".join(sorted(map(str, found)))


def _not_compared(one: Compared, other: Compared) -> tuple[str, ...]:
    """What is asked of a saga from outside, nobody may ask of a flow."""
    said = []
    for declared in (one, other):
        if isinstance(declared, Choreography) and type(one) is not type(other):
            back = declared.retraction
            what = f"only {back.__name__} takes it back, after a good end too" if back else "nothing takes it back"
            said.append(f"a cancel of the saga; choreography {declared.name!r}: {what}")
    return tuple(said)

"""What whoever has to know a choreography reads of it: its facts, who reacts to them, and who takes what back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from choros.messages import Fact

FactType = type[Fact]
Fulfilment = Literal["yes", "no", "open", "too late"]


@dataclass(frozen=True, slots=True)
class FlowReaction:
    """One reaction of a service to one fact of a flow, or to several that it waits for."""

    service: str
    hears: tuple[type[Fact], ...]
    """What it is called for: each of them must have come."""
    publishes: tuple[type[Fact], ...]
    silent: bool
    """Whether it may publish none of them."""
    undoes: type[Fact] | None
    """The fact whose reaction of the same service it takes back."""
    function: Callable[..., Any]
    name: str
    """As its author calls it."""
    writes: bool
    """Whether it has an effect in its service's database."""

    gives_up: type[Fact] | None = None
    """What is told in its place once it was tried for the last time; None where it is parked then."""
    effect: str = ""
    """What it does, or takes back, by name; empty where nobody gives it one."""

    @property
    def tells(self) -> Sequence[type[Fact]]:
        """All that may be told for it."""
        return (*self.publishes, *([self.gives_up] if self.gives_up else []))

    @property
    def said(self) -> str:
        """Who does it, for a sentence."""
        return f"{self.service}.{self.name}"


class FlowCourse(NamedTuple):
    """What was told, and how each reaction came out by its place in the outline."""

    facts: frozenset[FactType]
    outcomes: Mapping[int, Fulfilment]
    said: Mapping[int, FactType]
    """What each of them has told, but for those that said nothing."""

    @property
    def rests(self) -> bool:
        """Whether no reaction is still to be made."""
        return "open" not in self.outcomes.values()

    def without(self, left_out: Collection[int], flow: FlowOutline) -> frozenset[FactType]:
        """What is told in it before any of these reactions is made."""
        facts, left = {flow.start}, set(self.said) - set(left_out)
        while ready := {number for number in left if facts.issuperset(flow.reactions[number].hears)}:
            left -= ready
            facts.update(self.said[number] for number in ready)
        return frozenset(facts)


@dataclass(frozen=True)
class FlowOutline:
    """A flow as a value without functions to be asked; what may be broken in it is for the checks."""

    name: str
    version: int
    start: FactType
    good: tuple[FactType, ...]
    bad: tuple[FactType, ...]
    turns: tuple[FactType, ...]
    closer: str
    reactions: Sequence[FlowReaction]
    standing: tuple[Callable[..., Any], ...] = ()
    retraction: FactType | None = None

    @property
    def where(self) -> str:
        """What it is called in a sentence."""
        return f"choreography {self.name!r}"

    @property
    def decisive(self) -> tuple[FactType, ...]:
        """What its closer decides by: ends and turns."""
        return (*self.good, *self.bad, *self.turns)

    @cached_property
    def facts(self) -> Sequence[FactType]:
        """All that is told in it, its start first."""
        told = (fact for reaction in self.reactions for fact in reaction.tells)
        begun = [self.start, *([self.retraction] if self.retraction else [])]
        return tuple(dict.fromkeys([*begun, *told]))

    @cached_property
    def effects(self) -> Sequence[FlowReaction]:
        """The reactions whose effect must not stand once the flow has ended badly."""
        return [one for one in self.reactions if self._leaves(one)]

    def _leaves(self, reaction: FlowReaction) -> bool:
        free = reaction.undoes is not None or not reaction.writes or reaction.function in self.standing
        return not free and not (reaction.service == self.closer and self.decides(reaction))

    def decides(self, reaction: FlowReaction) -> bool:
        """Whether it may publish how the flow ends."""
        return any(fact in self.decisive for fact in reaction.publishes)

    def undoers(self, effect: FlowReaction) -> Sequence[FlowReaction]:
        """The reactions that take this one back."""
        mine = (one for one in self.reactions if one.undoes and one.service == effect.service)
        return [one for one in mine if one.undoes in effect.hears or (effect.effect and one.effect == effect.effect)]

    def hearers(self, fact: FactType) -> Sequence[FlowReaction]:
        """The reactions to this fact, those that wait for others too."""
        return [one for one in self.reactions if fact in one.hears]

    def leads_to(self, fact: FactType) -> frozenset[FactType]:
        """All that may come of a fact, with itself."""
        found, left = {fact}, [fact]
        while left:
            told = (after for reaction in self.hearers(left.pop()) for after in reaction.tells)
            new = set(told) - found
            found |= new
            left += new
        return frozenset(found)

    def is_no(self, fact: FactType) -> bool:
        """Whether it says that its reaction definitely did nothing: good ends cannot come of it, and bad ones can."""
        ends = self.leads_to(fact)
        return fact not in self.decisive and ends.isdisjoint(self.good) and not ends.isdisjoint(self.bad)

    def noes(self, reaction: FlowReaction) -> Sequence[FactType]:
        """What a reaction publishes in place of its effect."""
        if reaction.undoes is not None:
            return ()
        return [fact for fact in reaction.publishes if self.is_no(fact)]

    def yeses(self, reaction: FlowReaction) -> Sequence[FactType | None]:
        """What it publishes with its effect; None for nothing."""
        noes = self.noes(reaction)
        said = [fact for fact in reaction.publishes if fact not in noes]
        return [*said, *([None] if reaction.silent else [])]


def named(facts: Iterable[FactType]) -> str:
    """Facts, for a sentence."""
    return ", ".join(fact.__name__ for fact in facts)

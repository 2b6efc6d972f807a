"""What services go by in a flow, as a model: rows, effects, and what is told. A control has a rule taken out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from choros.app.flow_courses import may_decide
from choros.app.flow_outline import FactType, FlowOutline, FlowReaction
from choros_verify.exploration.violation import hold

EffectState = Literal["", "ok", "no", "tombstone", "undone"]
ComesOut = Literal["yes", "no", "gives up", "parks"]
NOBODY = -1
"""Who tells what begins a flow, or takes it back."""


class ToldFact(NamedTuple):
    """A fact with its identity: whose it is, and which of these."""

    fact: int
    by: int
    nth: int


class FlowWorld(NamedTuple):
    """One state of a flow: all that was told, and what each service has in its database."""

    told: frozenset[ToldFact] = frozenset()
    handled: frozenset[tuple[int, ToldFact]] = frozenset()
    """The inbox: which reaction has had which fact."""
    rows: tuple[EffectState, ...] = ()
    """Of each reaction, what its row says."""
    stands: tuple[int, ...] = ()
    """How often its effect is there."""
    undone_by: tuple[int, ...] = ()
    """Which reaction has taken it back, or left the tombstone."""
    cut: bool = False
    """Whether something was not gone on with, since it was told that often."""


@dataclass(frozen=True)
class FlowRules:
    """The rules of the runtime; all hold, unless one is taken out."""

    inbox: bool = True
    """What was handled is not handled again."""
    tombstones: bool = True
    """An undo that finds nothing keeps what comes later from happening."""
    undo_row: bool = True
    """An effect is taken back once."""
    silent_when_withdrawn: bool = True
    """What is not done any more tells nothing."""
    rollback: bool = True
    """A no leaves nothing of its effect."""
    gives_up_for_good: bool = True
    """Who gives up leaves a tombstone with the bad fact that it tells."""
    row_read_first: bool = True
    """Nobody gives up what is done."""
    joins: bool = True
    """What waits for several facts waits for all of them."""
    closer_row: bool = True
    """The first end that the closer commits is the only one."""
    undo_tells: bool = True
    """An undo tells what it is declared to tell whether or not there was something to undo."""


FlowStep = tuple[str, FlowWorld]


@dataclass(frozen=True)
class FlowModel:
    """What may happen next in a flow."""

    outline: FlowOutline
    rules: FlowRules = FlowRules()
    chosen: Mapping[int, ComesOut] = field(default_factory=dict)
    """How these reactions come out; all others as they may."""
    rounds: int = 2
    """How often one reaction may tell one fact."""

    @property
    def first(self) -> FlowWorld:
        """Before anything was told but its start."""
        count = len(self.outline.reactions)
        begun = ToldFact(self._number(self.outline.start), NOBODY, 0)
        empty: EffectState = ""
        return FlowWorld(frozenset({begun}), rows=(empty,) * count, stands=(0,) * count, undone_by=(NOBODY,) * count)

    def after(self, world: FlowWorld) -> Iterator[FlowStep]:
        """Every next state, with what leads there in words: any fact that was told comes to who hears it, in whatever
        order, once more or late."""
        for told in sorted(world.told):
            for number, reaction in enumerate(self.outline.reactions):
                if self._fact(told) in reaction.hears:
                    yield from self.delivered(world, number, told)
        retraction = self.outline.retraction
        if retraction and not any(one.fact == self._number(retraction) for one in world.told):
            after = world._replace(told=world.told | {ToldFact(self._number(retraction), NOBODY, 0)})
            yield f"{retraction.__name__} takes it back", after

    def waiting(self, world: FlowWorld) -> Sequence[int]:
        """The reactions that have still to be made: those that are parked, but for what was undone meanwhile."""
        facts = self.types(world)
        return [
            number for number, reaction in enumerate(self.outline.reactions)
            if any((number, told) not in world.handled for told in world.told if self._fact(told) in reaction.hears)
            and facts.issuperset(reaction.hears) and world.rows[number] not in ("tombstone", "undone")
        ]  # fmt: skip

    def types(self, world: FlowWorld) -> frozenset[FactType]:
        """What was told, by type."""
        return frozenset(self._fact(told) for told in world.told)

    def _fact(self, told: ToldFact) -> FactType:
        return self.outline.facts[told.fact]

    def _number(self, fact: FactType) -> int:
        return self.outline.facts.index(fact)

    def delivered(self, world: FlowWorld, number: int, told: ToldFact) -> Iterator[FlowStep]:
        """What may come of one fact at one reaction."""
        reaction = self.outline.reactions[number]
        if (number, told) in world.handled and self.rules.inbox:
            if self._may_give_up_late(reaction, world.rows[number]):
                yield from self._given_up(world, number, told)
            return
        if self.chosen.get(number) == "parks" and self._may_park(world, reaction):
            return
        kept = world._replace(handled=world.handled | {(number, told)})
        if not self._complete(kept, number, reaction):
            yield f"{reaction.said} keeps {self._fact(told).__name__}", kept
        elif reaction.undoes is not None:
            yield from self._undo(kept, number, told)
        else:
            yield from self._do(kept, number, told)

    def _may_park(self, world: FlowWorld, reaction: FlowReaction) -> bool:
        """An undo that finds nothing to undo does not fail."""
        undone = (n for n, one in enumerate(self.outline.reactions) if reaction in self.outline.undoers(one))
        return reaction.undoes is None or any(world.rows[number] == "ok" for number in undone)

    def _complete(self, world: FlowWorld, number: int, reaction: FlowReaction) -> bool:
        had = {self._fact(told) for who, told in world.handled if who == number}
        return had.issuperset(reaction.hears) or not self.rules.joins

    def _do(self, world: FlowWorld, number: int, told: ToldFact) -> Iterator[FlowStep]:
        reaction, row = self.outline.reactions[number], world.rows[number]
        said = f"{reaction.said} hears {self._fact(told).__name__}"
        if row in ("tombstone", "undone"):
            after = world
            if not self.rules.silent_when_withdrawn:
                after = next((self._tell(world, number, fact) for fact in self.outline.yeses(reaction)), world)
            yield f"{said}, which was undone before", after
            return
        if row and reaction in self.outline.effects:
            hold(not self.rules.inbox, f"{said} as well, and is parked: it has had another cause", 2)
        if self.outline.decides(reaction):
            yield from self._decided(world, number, said)
            return
        for fact in self._allowed(number, "yes", self.outline.yeses(reaction)):
            done = self._changed(world, number, "ok", 1 if reaction.writes else 0)
            yield f"{said}, and {_says(fact)}", self._tell(done, number, fact)
        for fact in self._allowed(number, "no", self.outline.noes(reaction)):
            left = 0 if self.rules.rollback else 1
            yield (
                f"{said}, and {_says(fact)} in its place",
                self._tell(self._changed(world, number, "no", left), number, fact),
            )
        if reaction.gives_up and self.chosen.get(number, "gives up") == "gives up":
            yield from self._given_up(world, number, told)

    def _allowed(self, number: int, choice: ComesOut, facts: Sequence[FactType | None]) -> Sequence[FactType | None]:
        return facts if self.chosen.get(number, choice) == choice else ()

    def _decided(self, world: FlowWorld, number: int, said: str) -> Iterator[FlowStep]:
        facts = self.types(world)
        for fact in self.outline.yeses(self.outline.reactions[number]):
            decisive = fact in self.outline.decisive
            if decisive and self.rules.closer_row and not may_decide(self.outline, fact, facts):
                yield f"{said}, too late", world
            else:
                yield f"{said}, and {_says(fact)}", self._tell(world, number, fact)

    def _may_give_up_late(self, reaction: FlowReaction, row: EffectState) -> bool:
        return bool(reaction.gives_up) and row == "ok" and not self.rules.row_read_first

    def _given_up(self, world: FlowWorld, number: int, told: ToldFact) -> Iterator[FlowStep]:
        reaction = self.outline.reactions[number]
        given_up = self._changed(world, number, "tombstone", 0)
        if not self.rules.gives_up_for_good:
            given_up = world._replace(handled=world.handled - {(number, told)})
        if given_up.rows[number] == "tombstone" or self._never_told(world, number):
            said = f"{reaction.said} gives up {self._fact(told).__name__}, and {_says(reaction.gives_up)}"
            yield said, self._tell(given_up, number, reaction.gives_up)

    def _never_told(self, world: FlowWorld, number: int) -> bool:
        return not any(one.by == number for one in world.told)

    def _undo(self, world: FlowWorld, number: int, told: ToldFact) -> Iterator[FlowStep]:
        undo = self.outline.reactions[number]
        undone = [at for at, one in enumerate(self.outline.reactions) if undo in self.outline.undoers(one)]
        found, after = False, world
        for at in undone:
            new, after = self._taken_back(after, at, number)
            found = found or new
        said = f"{undo.said} hears {self._fact(told).__name__}"
        if not found:
            yield f"{said}, which is undone already", after
            return
        for fact in self.outline.yeses(undo):
            nothing = after.stands == world.stands
            silent = nothing and not self.rules.undo_tells
            yield (
                f"{said}, {'finds nothing to undo' if nothing else 'undoes'}, and {_says(fact)}",
                (after if silent else self._tell(after, number, fact)),
            )

    def _taken_back(self, world: FlowWorld, at: int, undo: int) -> tuple[bool, FlowWorld]:
        row, effect = world.rows[at], self.outline.reactions[at]
        if row in ("tombstone", "undone") and world.undone_by[at] != NOBODY:
            first, second = self.outline.reactions[world.undone_by[at]], self.outline.reactions[undo]
            same = first.function is second.function
            hold(same, f"{first.said} and {second.said} both undo {effect.said} in one flow", 4)
            if row == "tombstone" or self.rules.undo_row:
                return False, world
        by = tuple(undo if n == at else one for n, one in enumerate(world.undone_by))
        if row in ("ok", "undone"):
            return True, self._changed(world, at, "undone", -1)._replace(undone_by=by)
        kept = self._changed(world, at, "tombstone", 0) if self.rules.tombstones else world
        return True, kept._replace(undone_by=by if self.rules.tombstones else world.undone_by)

    def _changed(self, world: FlowWorld, number: int, row: EffectState, more: int) -> FlowWorld:
        rows = tuple(row if n == number else one for n, one in enumerate(world.rows))
        stands = tuple(one + (more if n == number else 0) for n, one in enumerate(world.stands))
        return world._replace(rows=rows, stands=stands)

    def _tell(self, world: FlowWorld, number: int, fact: FactType | None) -> FlowWorld:
        if fact is None:
            return world
        mine = sum((one.fact, one.by) == (self._number(fact), number) for one in world.told)
        if mine >= self.rounds:
            return world._replace(cut=True)
        return world._replace(told=world.told | {ToldFact(self._number(fact), number, mine)})


def _says(fact: FactType | None) -> str:
    return f"says {fact.__name__}" if fact else "says nothing"

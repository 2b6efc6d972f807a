"""The flows of an application, as they are put on a stage: how they begin, and what each reaction does there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from choros.app.choreography import Choreography
from choros.app.flow_outline import FlowOutline, FlowReaction
from choros.app.flow_part import flow_id
from choros.messages import Fact
from choros.transport.topology import RETRY_LADDER
from choros_verify.simulation.invention import invent

Begins = Mapping[type[Fact], Callable[[int], Fact]]
"""What begins the flow of a number, by the type of the fact, where a made-up one will not do."""
REACTED, WITHDREW = "reacted", "withdrew"
OF_FLOWS = (REACTED, WITHDREW)
"""The kinds of lines in a ledger that say that a reaction of a flow was made, or taken back."""


@dataclass(frozen=True)
class FlowPiece:
    """One reaction of a flow, with all that it is called for."""

    outline: FlowOutline
    reaction: FlowReaction

    @property
    def name(self) -> str:
        """As a script calls it."""
        return self.reaction.said

    @cached_property
    def does(self) -> str:
        """What it does, or takes back, by the service and the name of the effect."""
        undone = (one for one in self.outline.reactions if self.reaction in self.outline.undoers(one))
        meant = next(undone, self.reaction) if self.reaction.undoes else self.reaction
        return f"{meant.service}/{meant.effect or meant.hears[0].type_name}"

    @cached_property
    def single(self) -> bool:
        """Whether it is made once in a flow: else once for each fact."""
        return bool(self.reaction.undoes or self.reaction.effect or self.outline.undoers(self.reaction))

    @property
    def noes(self) -> Sequence[type[Fact]]:
        """By what it may say no; what takes something back says none."""
        return self.outline.noes(self.reaction)

    def line(self, correlation_id: str, message_id: str) -> str:
        """What the ledger says that was done."""
        return f"{correlation_id} {self.does}" + ("" if self.single else f" {message_id}")

    def said(self, message_id: str) -> type[Fact] | None:
        """What it publishes where all goes well; the same for the same fact."""
        yeses = self.outline.yeses(self.reaction)
        return yeses[sum(message_id.encode()) % len(yeses)] if yeses else None


class StagedFlows:
    """The choreographies of an application, in the order in which they take turns."""

    def __init__(self, declared: Iterable[Choreography[Any]], begins: Begins | None = None) -> None:
        self.declared: Sequence[Choreography[Any]] = tuple(declared)
        self._begins = begins or {}
        self._pieces: Mapping[tuple[str, str], FlowPiece] = {
            (one.service, fact.type_name): FlowPiece(flow.outline, one)
            for flow in self.declared
            for one in flow.reactions
            for fact in one.hears
        }

    def __bool__(self) -> bool:
        return bool(self.declared)

    def piece(self, service: str, fact: str) -> FlowPiece | None:
        """What this service does about facts of this type, where that belongs to a flow."""
        return self._pieces.get((service, fact))

    @property
    def pieces(self) -> Sequence[FlowPiece]:
        """Each reaction of them once."""
        return list({piece.name: piece for piece in self._pieces.values()}.values())

    def flow(self, index: int) -> Choreography[Any]:
        """Which one the flow of this number in a plan is."""
        return self.declared[index % len(self.declared)]

    def pieces_of(self, index: int) -> Sequence[FlowPiece]:
        """The reactions of the flow of this number in a plan."""
        return [piece for piece in self.pieces if piece.outline is self.flow(index).outline]

    def begins(self, index: int) -> Fact:
        """Its first fact: of each another one."""
        start = self.flow(index).start
        fact: Fact = self._begins[start](index) if start in self._begins else invent(start, index + 1)
        return fact

    def flow_id(self, namespace: str, index: int) -> str:
        """Which flow it is there."""
        return flow_id(namespace, self.flow(index), self.begins(index), self.run(index))

    @staticmethod
    def run(index: int) -> int:
        """Which run of its key it is: so two of them are never one flow."""
        return index + 1

    @property
    def longest(self) -> float:
        """Seconds in which every reaction of them is tried to the end, one after the other."""
        return float(sum(RETRY_LADDER)) * len(self.pieces)

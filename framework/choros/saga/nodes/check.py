"""A step before the pivot that has nothing to undo."""

from dataclasses import dataclass, field
from datetime import timedelta

from choros.errors import DeclarationError
from choros.saga.nodes.commanded import CommandNode, Commands, check_taken
from choros.saga.parameters import NodePlace


@dataclass(frozen=True, slots=True)
class Check(Commands):
    """A commanded step before the pivot that changes nothing: it asks, and the answer may be no.

    Refused, or its retries used up, all before it is undone, and of it there is nothing to undo."""

    taken_within: timedelta | None = field(default=None, kw_only=True)
    """How long its command may lie before somebody begins it; after that it is refused as expired, and never begun."""

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot nothing may be refused."""
        if place.passed:
            raise DeclarationError(
                f"{place.where} may end the saga, but stands after the pivot.", "make it Retriable or move it."
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """A step without an undo."""
        node = self.node(place, "check", expires=True, changes=False, taken_within=self.taken_within)
        check_taken(place, self.taken_within, node)
        return node

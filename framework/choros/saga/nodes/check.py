"""A step before the pivot that has nothing to undo."""

from dataclasses import dataclass

from choros.errors import DeclarationError
from choros.saga.nodes.commanded import CommandNode, Commands
from choros.saga.outline import NodePlace


@dataclass(frozen=True, slots=True)
class Check(Commands):
    """A commanded step before the pivot that changes nothing: it asks, and the answer may be no.

    Refused, or its retries used up, all before it is undone, and of it there is nothing to undo."""

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot nothing may be refused."""
        if place.passed:
            raise DeclarationError(
                f"{place.where} may end the saga, but stands after the pivot.", "make it Retriable or move it."
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """A step without an undo."""
        return self.node(place, "check", expires=True, changes=False)

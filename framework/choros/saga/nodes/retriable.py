"""A step after the pivot."""

from dataclasses import dataclass

from choros.errors import DeclarationError
from choros.saga.nodes.commanded import CommandNode, Commands
from choros.saga.parameters import NodePlace


@dataclass(frozen=True, slots=True)
class Retriable(Commands):
    """A commanded step after the pivot: it cannot be refused and is tried until it succeeds."""

    def check_place(self, place: NodePlace) -> None:
        """Only behind the pivot."""
        if not place.passed:
            reason = "it comes later" if place.pivot else "there is none"
            raise DeclarationError(
                f"{place.where} is Retriable, so it must stand after the pivot, but {reason}.",
                "make it a Step with a compensation.",
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """Whatever becomes of it, the saga does not turn back."""
        node = self.node(place, "retriable", frozenset())
        for command in node.does:
            if command.refusals:
                raise DeclarationError(
                    f"{place.where} stands after the pivot, but {command.__name__} may be refused"
                    f" ({', '.join(command.refusals)}).",
                    "take the refusals away, or move the step before the pivot.",
                )
        return node

"""The step from which on a saga only goes forward."""

from dataclasses import dataclass

from choros.saga.nodes.commanded import CommandNode, Commands
from choros.saga.outline import NodePlace


@dataclass(frozen=True, slots=True)
class Pivot(Commands):
    """The go/no-go step: refused, all before it is undone; carried out, the saga only goes forward."""

    @property
    def pivot(self) -> bool:
        """It is what they are named after."""
        return True

    def planned(self, place: NodePlace) -> CommandNode:
        """One in doubt is never undone."""
        return self.node(place, "pivot", frozenset({"refused"}))

"""The step from which on a saga only goes forward."""

from dataclasses import dataclass

from choros.saga.builders import certain
from choros.saga.nodes.commanded import CommandNode, Commands
from choros.saga.parameters import NodePlace


@dataclass(frozen=True, slots=True)
class Pivot(Commands):
    """The go/no-go step: refused, all before it is undone; carried out, the saga only goes forward."""

    @property
    def pivot(self) -> bool:
        """It is what they are named after."""
        return True

    def planned(self, place: NodePlace) -> CommandNode:
        """One in doubt is never undone, and none is passed over: what follows it could not be undone either."""
        node = self.node(place, "pivot", frozenset({"refused"}))
        certain(
            node.action, place.where, "is the pivot", "let it always command something, or a step before it choose."
        )
        return node

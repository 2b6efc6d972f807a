"""What all nodes have in common that have others within them, as a user writes them."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from choros.saga.outline import Declared


class Composed(Declared):
    """One that has others within it."""

    __slots__ = ()

    @property
    @abstractmethod
    def nodes(self) -> Iterable[Any]:
        """All that stand in it."""

    @property
    def commands(self) -> bool:
        """Whether it commands somebody."""
        return any(node.commands for node in self.nodes if isinstance(node, Declared))

    @property
    def pivot(self) -> bool:
        """Whether behind it the saga only goes forward."""
        return any(node.pivot for node in self.nodes if isinstance(node, Declared))

"""What a process has at hand of the sagas that it decided last, and need not ask for, or read, once more."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

AtHand = TypeVar("AtHand")
MOST_CHARACTERS = 8 * 1024 * 1024
"""Characters of stored states, at most, whose sagas are at hand: some ten thousand of a few steps."""


class Recent(Generic[AtHand]):
    """Values by key, of which the oldest go when there are too many."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._most, self._held = most, 0
        self._values: OrderedDict[Hashable, tuple[AtHand, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> AtHand | None:
        """The value that was kept last."""
        found = self._values.get(key)
        return found[0] if found else None

    def keep(self, key: Hashable, value: AtHand, weight: int) -> None:
        """Keep a value that weighs so many characters, for as long as there is room."""
        self.drop(key)
        self._values[key] = value, weight
        self._held += weight
        while self._held > self._most:
            self.drop(next(iter(self._values)))

    def drop(self, key: Hashable) -> None:
        """It holds no more."""
        if found := self._values.pop(key, None):
            self._held -= found[1]

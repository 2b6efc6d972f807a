"""The key of a command: what makes it the same command on every retry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from choros.errors import MessageRejected

Operation = Literal["do", "undo", "close", "release", "cancel"]
"""The last two are of sagas that are nested in others only; no service ever gets them."""
_OPERATIONS: dict[str, Operation] = {operation: operation for operation in get_args(Operation)}
_ROUND = re.compile(r"[1-9][0-9]{0,5}")  # written in one way only: two texts must not be one key
_KEY_PART = re.compile(r"[A-Za-z0-9_.\[\]-]{1,200}")


@dataclass(frozen=True, slots=True)
class CommandKey:
    """What makes a command the same command on every retry: `saga_id:path:round:operation`."""

    saga_id: str
    path: str
    round: int
    operation: Operation

    def __str__(self) -> str:
        return f"{self.saga_id}:{self.path}:{self.round}:{self.operation}"

    @property
    def effect(self) -> str:
        """The key without its operation: what a `do`, its `undo` and its `close` share."""
        return f"{self.saga_id}:{self.path}:{self.round}"

    @property
    def step(self) -> str:
        """The name of the step: behind where that stands in the path, and before an item's index, if it has those."""
        return self.path.rsplit(".", 1)[-1].split("[", 1)[0]

    def of(self, operation: Operation) -> CommandKey:
        """The key of another operation on the same effect."""
        return CommandKey(self.saga_id, self.path, self.round, operation)

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(text: str) -> CommandKey:
        """Read a key off the wire; raises MessageRejected."""
        parts = text.split(":")
        if len(parts) != 4 or not all(map(_KEY_PART.fullmatch, parts[:2])):
            raise MessageRejected("The idempotency key is not saga_id:path:round:operation.")
        round_, operation = parts[2], _OPERATIONS.get(parts[3])
        if operation is None or not _ROUND.fullmatch(round_):
            raise MessageRejected("The idempotency key is not saga_id:path:round:operation.")
        return CommandKey(parts[0], parts[1], int(round_), operation)

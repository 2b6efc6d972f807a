"""The queued writes of a Redis handler.

Redis rolls nothing back: in an EXEC a write that cannot be done fails alone and the others stay. So each write is
tried out beforehand on what its key holds, which is under WATCH, and none is sent if one would fail.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from choros.errors import UsageError

RedisWrite = Sequence[str | int | float]
KeyType = Literal["string", "hash", "list", "set", "none"]
Cell = tuple[str, ...]
"""The command that reads one value: GET of a key, HGET of a field."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One queued command, and what it does to the key."""

    command: RedisWrite
    needs: KeyType | None
    """The type the key must have if it exists; None if any will do, because the key is replaced."""
    leaves: KeyType
    cells: Mapping[Cell, str | int | float] = field(default_factory=dict)
    """Values that it sets."""
    counter: Cell = ()
    amount: int = 0
    """What it adds to its counter."""

    @property
    def name(self) -> str:
        """Of the command, for errors."""
        return str(self.command[0]).lower()

    @property
    def key(self) -> str:
        """The key it writes."""
        return str(self.command[1])


class Trial:
    """The writes of one attempt, done in thought."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self._writes = writes
        self.keys = list(dict.fromkeys(write.key for write in writes))
        self._counters = list(dict.fromkeys(write.counter for write in writes if write.counter))

    def questions(self) -> list[RedisWrite]:
        """What to ask Redis before the writes can be judged."""
        return [*(("TYPE", key) for key in self.keys), *self._counters]

    def judge(self, answers: Sequence[object]) -> None:
        """Raise UsageError if a write would fail, given the answers to the questions."""
        types = {key: str(answer) for key, answer in zip(self.keys, answers, strict=False)}
        values: dict[Cell, object] = dict(zip(self._counters, answers[len(self.keys) :], strict=True))
        for write in self._writes:
            if write.needs and types[write.key] not in ("none", write.needs):
                raise UsageError(f"{write.name} needs a {write.needs}; its key holds a {types[write.key]}.")
            types[write.key] = write.leaves
            _write_values(write, values)


def _write_values(write: Write, values: dict[Cell, object]) -> None:
    if write.needs is None:  # the key is replaced: nothing is left of it
        values.update({cell: None for cell in values if cell[1] == write.key})
    values.update(write.cells)
    if write.counter:
        values[write.counter] = _sum(write, values[write.counter])


def _sum(write: Write, value: object) -> int:
    text = "0" if value is None else str(value)
    if not _INTEGER.fullmatch(text) or int(text) not in _INT64:
        raise UsageError(f"{write.name} needs an integer; its key holds something else.")
    if int(text) + write.amount not in _INT64:
        raise UsageError(f"{write.name} would leave the range of 64 bits.")
    return int(text) + write.amount

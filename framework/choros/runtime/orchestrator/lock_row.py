"""The row of a key that is locked: who has it, and who waits for it in what order. Pure.

A row names sagas and asks nobody for leave: whoever reads it looks whether those are over, and what belongs to one that
is over is free.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from choros.errors import StoreMisconfigured
from choros.values import replace


@dataclass(frozen=True, slots=True)
class Asking:
    """A saga that waits for a key."""

    saga_id: str
    since: float


@dataclass(frozen=True, slots=True)
class LockRow:
    """Who has a key; nobody where no holder is named, and then nobody waits. Times are seconds since the epoch."""

    holder: str = ""
    since: float = 0.0
    waiting: tuple[Asking, ...] = ()
    handed_on: bool = False
    """Whether the holder had to wait for it, and may not know yet that it has it."""

    @property
    def named(self) -> Collection[str]:
        """Every saga in it."""
        return [self.holder, *(one.saga_id for one in self.waiting)] if self.holder else []

    @property
    def contended(self) -> bool:
        """Whether somebody depends on it being looked at."""
        return bool(self.waiting) or self.handed_on

    def without(self, over: Collection[str], now: float) -> LockRow:
        """The row once these are over: the first that waits has the key then."""
        waiting = tuple(one for one in self.waiting if one.saga_id not in over)
        if self.holder not in over:
            return replace(self, waiting=waiting)
        return LockRow(waiting[0].saga_id, now, waiting[1:], handed_on=True) if waiting else FREE

    def asked(self, saga_id: str, now: float, most: int) -> LockRow:
        """The row once this saga has asked for the key, and would wait behind less than so many others: it has it, or
        waits behind them, or is not in it."""
        if not self.holder:
            return LockRow(saga_id, now)
        if saga_id in self.named or len(self.waiting) >= most:
            return self
        return replace(self, waiting=(*self.waiting, Asking(saga_id, now)))

    def dumps(self) -> str:
        """As it is stored: nothing where nobody has the key."""
        return to_json(self).decode() if self.holder else ""


FREE = LockRow()


@cache
def _reader() -> TypeAdapter[LockRow]:
    return TypeAdapter(LockRow)


def read_row(key: str, text: str) -> LockRow:
    """The row as it was stored; raises StoreMisconfigured where somebody has made something else of it."""
    try:
        return _reader().validate_json(text) if text else FREE
    except ValidationError:
        sentence = f"The row of the lock {key!r} cannot be read."
        raise StoreMisconfigured(sentence, "the choros that wrote it, or a backup.") from None

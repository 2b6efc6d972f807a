"""A lock: of all sagas that name it, at most one runs for a business key; and what becomes of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from choros.errors import EXITS, DeclarationError, UsageError
from choros.messages import Message
from choros.names import BusinessKey, is_name, key_text
from choros.saga.checks import check_count, shown
from choros.saga.policy import check_duration

WhenTaken = Literal["queue", "refuse", "join"]
_WHEN_TAKEN = ("queue", "refuse", "join")
MOST_WAITING = 1_000
"""Sagas that may wait for one key: the row of the key names them all."""
MOST_KEYS = 16
"""Keys that one saga may take."""
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Lock:
    """At most one saga at a time: `Lock("customer", key=lambda change: change.customer_id, within=timedelta(hours=1))`.

    `key` gives the business key from the start message, or several, which are taken in one order whatever order they
    are given in. Sagas of any kind that name the same lock keep each other out. A saga takes it before its first step,
    and has it until it has ended, undone where it has to be; one that is parked keeps it.

    `when_taken`: another saga has it. `"queue"`: wait, first come first served, `within` so long, behind at most `most`
    others; then the saga is undone before it has begun, with the code `locked`. `"refuse"`: that at once. `"join"`: the
    caller gets the id of the saga that has it.
    """

    name: str
    key: Callable[[Any], BusinessKey | Sequence[BusinessKey]] = field(kw_only=True)
    when_taken: WhenTaken = field(default="queue", kw_only=True)
    within: timedelta | None = field(default=None, kw_only=True)
    most: int = field(default=100, kw_only=True)

    def check(self, saga: str) -> None:
        """Whether it can be one; raises DeclarationError."""
        where = f"saga {saga!r}: lock {shown(self.name)}"
        if not is_name(self.name):
            raise DeclarationError(f"{where} has no name.", "use lower-case words joined by '-' or '_'.")
        if not callable(self.key):
            raise DeclarationError(f"{where}: key={shown(self.key)} is no function.", "key=lambda start: start.id.")
        if self.when_taken not in _WHEN_TAKEN:
            sentence = f"{where}: when_taken={shown(self.when_taken)} is not known."
            raise DeclarationError(sentence, "when_taken='queue', 'refuse' or 'join'.")
        self._check_bounds(where)

    def _check_bounds(self, where: str) -> None:
        """Nobody waits for ever, and nobody else at all."""
        if self.when_taken == "queue":
            if self.within is None:
                raise DeclarationError(f"{where} may be waited for, but not how long.", "within=timedelta(minutes=10).")
            check_duration(where, "within", self.within, least=timedelta(microseconds=1))
            check_count(where, "most", self.most, MOST_WAITING)
        elif self.within is not None:
            raise DeclarationError(f"{where} has within=..., but nobody waits for it.", "leave it out.")

    def keys_of(self, start: Message) -> tuple[str, ...]:
        """What it locks for this start message, in the order in which that is taken; raises UsageError."""
        try:
            given: Any = key_text(self.key(start))
            keys = (given,) if isinstance(given, str) else tuple(map(key_text, given))
        except EXITS:
            raise
        except BaseException as error:
            raise UsageError(
                f"lock {self.name!r}: key raised {type(error).__name__}.", "a text, or several."
            ) from error
        if not (0 < len(keys) <= MOST_KEYS and all(map(_is_key, keys))):
            hint = f"a text of 1 to {_LONGEST_KEY} printable characters, or up to {MOST_KEYS} of them."
            raise UsageError(f"lock {self.name!r}: key gave what cannot be locked.", hint)
        return tuple(sorted({f"{self.name}:{key}" for key in keys}))


def _is_key(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and key.isprintable()


def check_lock(saga: str, lock: object) -> None:
    """Whether it is a lock, or none; raises DeclarationError."""
    if lock is None:
        return
    if not isinstance(lock, Lock):
        raise DeclarationError(f"saga {saga!r}: lock={shown(lock)} is no Lock.", "Lock('customer', key=..., ...).")
    lock.check(saga)

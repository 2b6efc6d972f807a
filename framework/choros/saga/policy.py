"""How often and how fast a command is tried again. Retries are durable saga state, never sleeps in a process."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import NoneType
from typing import Literal

from choros.errors import DeclarationError

DEFAULT_TIMEOUT = timedelta(seconds=30)
"""How long one attempt of a command may go unanswered."""
LONGEST = timedelta(days=36_500)
"""A hundred years: as good as for ever, and no sum of a few of them is past the last year that a calendar has."""


def check_duration(where: str, name: str, value: object, *, least: timedelta = timedelta.min) -> None:
    """Raises DeclarationError for a bare number, which does not say of what, and for what is no time to wait."""
    if not isinstance(value, timedelta):
        seconds = value if isinstance(value, (int, float)) else 30
        raise DeclarationError(
            f"{where}: {name}={value!r} is no timedelta.", f"write {name}=timedelta(seconds={seconds})."
        )
    if value > LONGEST:
        raise DeclarationError(
            f"{where}: {name} is longer than a hundred years.", f"{name}=timedelta(days={LONGEST.days}) is for ever."
        )
    if value < least:
        raise DeclarationError(f"{where}: {name}={value} is no time to wait.", f"write {name}=timedelta(seconds=30).")


def _check_kinds(policy: RetryPolicy) -> None:
    for name in ("initial", "max", "total"):
        check_duration("RetryPolicy", name, getattr(policy, name))
    _check_number("factor", policy.factor, (int, float))
    _check_number("jitter", policy.jitter, (int, float))
    _check_number("attempts", policy.attempts, (int, NoneType))
    _check_codes(policy.non_retryable)
    if policy.exhausted not in ("compensate", "park"):
        raise DeclarationError(
            f"RetryPolicy: exhausted={policy.exhausted!r} means nothing.", "write 'compensate' or 'park'."
        )


def _check_number(name: str, value: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds):
        raise DeclarationError(f"RetryPolicy: {name}={value!r} is no number.", f"write {name}=1, for example.")


def _check_codes(codes: object) -> None:
    if not isinstance(codes, (tuple, list, set, frozenset)) or not all(isinstance(code, str) for code in codes):
        raise DeclarationError(
            f"RetryPolicy: non_retryable={codes!r} is no tuple of names.", "write non_retryable=('ValueError',)."
        )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempt n + 1 follows attempt n after `initial * factor ** (n - 1)`, at most `max`, for `total` in all.

    What a failure leaves behind is unknown, so a `Step` whose attempts are used up is undone with those before it
    (`exhausted="compensate"`) or parked for a person (`"park"`); a pivot, a retriable step and an undo always park.
    """

    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    max: timedelta = timedelta(seconds=60)
    jitter: float = 0.1
    """The share of a delay that varies, so that many retries do not come at once; 0 to 1."""
    total: timedelta = timedelta(minutes=15)
    """Counted from the first attempt."""
    attempts: int | None = None
    """Attempts in all, the first one included; None is bounded by `total` alone."""
    non_retryable: tuple[str, ...] = ()
    """Codes (names of exceptions) of failures that no retry can mend."""
    exhausted: Literal["compensate", "park"] = "compensate"

    def __post_init__(self) -> None:
        _check_kinds(self)
        if not (timedelta(0) < self.initial <= self.max and 1 <= self.factor <= 1000):
            raise DeclarationError(
                f"RetryPolicy(initial={self.initial}, factor={self.factor}, max={self.max}) does not grow.",
                "use 0 < initial <= max and 1 <= factor <= 1000.",
            )
        if not 0 <= self.jitter <= 1 or self.total <= timedelta(0) or (self.attempts is not None and self.attempts < 1):
            raise DeclarationError("RetryPolicy needs 0 <= jitter <= 1, total > 0 and attempts >= 1.")

    def delay(self, attempt: int, seed: str) -> float:
        """Seconds between this attempt and the next; the jitter follows from `seed`, so it can be computed again."""
        delay = self.max.total_seconds()
        with suppress(OverflowError):  # past any float, it is past the ceiling too
            delay = min(self.initial.total_seconds() * float(self.factor) ** (attempt - 1), delay)
        return delay * (1 - self.jitter * (zlib.crc32(f"{seed}:{attempt}".encode()) / 2**32))

    def allows(self, attempt: int, first_at: float, at: float, code: str = "") -> bool:
        """Whether an attempt after this one may start at the moment `at`."""
        if code in self.non_retryable or (self.attempts is not None and attempt >= self.attempts):
            return False
        return at - first_at < self.total.total_seconds()

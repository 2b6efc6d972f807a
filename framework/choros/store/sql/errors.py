"""What an error of a driver means: by its SQLSTATE, or by what SQLite says."""

import asyncio
from typing import Literal

from choros.errors import ChorosError, StoreMisconfigured, StoreUnreachable

WhatItMeans = Literal["conflict", "away", "missing", "denied", "refused", "failed", "answer"]
"""conflict: done again, it will work; away: the database did not do it; missing: there is no such table; denied: this
role may not; refused: nobody may log in like this; failed: a statement before it has failed, and was caught; answer:
what the database says to this statement, and all else stands."""
_BY_STATE: dict[str, WhatItMeans] = {
    "40001": "conflict", "40P01": "conflict",
    "42P01": "missing", "3F000": "missing", "42501": "denied", "25P02": "failed",
    "25006": "away",  # read-only: a standby, after a failover
    "57P01": "away", "57P02": "away", "57P03": "away",
}  # fmt: skip
_BY_CLASS: dict[str, WhatItMeans] = {
    "08": "away", "53": "away", "58": "away", "XX": "away", "28": "refused", "3D": "refused",
}  # fmt: skip
_OF_SQLITE: tuple[tuple[str, WhatItMeans], ...] = (
    ("no such table", "missing"), ("locked", "away"), ("disk", "away"), ("readonly", "denied"),
    ("malformed", "away"), ("unable to open", "away"),
)  # fmt: skip


def meaning_of(error: BaseException) -> WhatItMeans:
    """What an error of a driver, or of what wraps it, means."""
    while error.__cause__ is not None and not _state_of(error):
        error = error.__cause__
    if isinstance(error, (OSError, asyncio.TimeoutError)):
        return "away"
    state = _state_of(error)
    if state:
        return _BY_STATE.get(state) or _BY_CLASS.get(state[:2], "answer")
    if type(error).__module__ == "sqlite3" and type(error).__name__ == "OperationalError":
        said = str(error)
        return next((meaning for words, meaning in _OF_SQLITE if words in said), "answer")
    return "answer"


def _state_of(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else ""


def named(where: str, error: BaseException) -> ChorosError:
    """The error of choros for one of a driver that is no answer to a statement. What a driver says may hold values, so
    it is not repeated."""
    meaning = meaning_of(error)
    if meaning == "refused":
        return StoreMisconfigured(f"The database {where} takes no such login.", "user, password and database's name.")
    if meaning == "denied":
        return StoreMisconfigured(f"This login may not use the barrier's tables in {where}.", "GRANT it what it needs.")
    if meaning == "missing":
        return StoreMisconfigured(f"The barrier's tables in {where} are not there any more.", "restart the service.")
    return StoreUnreachable(f"The database {where} does not answer.", "see whether it runs.")

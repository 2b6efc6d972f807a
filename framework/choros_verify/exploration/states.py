"""One state of an exploration: everything that lasts, and what is left of the budgets."""

from typing import NamedTuple


class WorldState(NamedTuple):
    """One state of everything, in numbers; `stored` is -1 before the saga is started."""

    stored: int
    accounts: int
    network: int = 0
    outbox: int = 0


class Left(NamedTuple):
    """What is left of the budgets."""

    duplicates: int
    crashes: int
    retries: int
    horizons: int = 0
    """How often a participant may forget all that it has done about a step, but not how far."""

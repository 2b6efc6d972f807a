"""How far an exploration goes."""

from dataclasses import dataclass

from choros_verify.exploration.choices import ActKind
from choros_verify.exploration.states import Left

SHORT, LONG = Left(1, 1, 1), Left(2, 2, 1)
"""Budgets: duplicates, crashes, retries."""
AGED = Left(1, 0, 1, horizons=1)
"""For the horizon, beside them: its moves multiply all others."""
TERMINATING: frozenset[ActKind] = frozenset({"terminate", "settle"})
"""For terminating at every moment, and settling what is left, apart from the other acts: they would multiply those."""

AGAIN: frozenset[ActKind] = frozenset({"cancel", "terminate", "settle", "signal"})
"""For ends from which something is kept when a saga is run again, and for what happens to it then."""


@dataclass(frozen=True)
class Bounds:
    """How far an exploration goes."""

    budgets: Left = SHORT
    acts: frozenset[ActKind] = frozenset({"cancel", "pause", "retry", "skip", "signal", "update"})
    """What people do besides."""
    providers: frozenset[str] = frozenset()
    """Steps whose effect is at a provider, outside of the participant's database."""
    refusals: int = 1
    """Declared refusals of each command that are tried; 0 is all. One stands for all: no rule reads the code."""
    most_states: int = 5_000_000
    reduce: bool = True
    """Off, nothing is left out: for checking that what is left out makes no difference."""
    seed: int = 0

"""What every voyage is to come to, from its number alone: scripted refusals and failures, so that completions and
compensations are both common. The script travels in the start message, and handlers follow it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

OUTCOMES = {
    "plain": "completed",
    "stumble fare": "completed",  # transient failures before the effect
    "stumble cabin": "completed",
    "stumble sail": "completed",
    "half sail": "completed",  # the provider has the effect, but its answer was a failure
    "stumble miles": "completed",
    "slow cabin": "completed",
    "refuse fare": "compensated",
    "refuse cabin": "compensated",
    "refuse sail": "compensated",
    "stumble refund": "compensated",  # refused at the pivot, and the undo has transient failures
    "stumble free": "compensated",
    "hopeless cabin": "compensated",  # fails for good before its effect: undone in doubt
    "cancel": "either",  # somebody cancels it at some moment
    "stuck refund": "parked",  # its undo fails for ever
    "cruise": "completed",
    "cruise, stumble deck": "completed",
    "cruise, refuse dinner": "completed",  # the scope's other way
    "cruise, refuse sail": "compensated",
    "cruise, refuse guide": "compensated",  # while others are under way beside it
    "cruise, stumble free": "compensated",
    "cruise, cancel": "either",
    "expedition": "completed",
    "expedition, refuse sail": "compensated",
    "expedition, refuse permit": "compensated",  # by whoever finishes it, long after it was taken
    "expedition, cancel": "either",
}
"""Script -> how it must end."""
STUMBLES = 2
"""Attempts that a stumbling handler fails."""
_WEIGHTS = (500, 30, 30, 30, 30, 30, 20, 40, 80, 90, 30, 30, 25, 34, 1, *(60, 15, 25, 25, 15, 10, 10), *(40, 8, 8, 8))
CRUISE, EXPEDITION = "cruise", "expedition"
"""What the scripts of cruises, and of expeditions, begin with."""


def script_of(seed: int, number: int) -> str:
    """The script of a voyage."""
    dice = random.Random(f"{seed}/{number}")
    names: Sequence[str] = list(OUTCOMES)
    return dice.choices(names, _WEIGHTS)[0]

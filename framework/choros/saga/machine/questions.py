"""Questions: when it is asked what has become of a command that somebody outside finishes.

Its answer may be lost with the broker, and what was told to its service with the network; a saga that waited for its
bound would wait for months.
"""

from datetime import timedelta

from choros.saga.machine.instance import Leg
from choros.saga.policy import RetryPolicy
from choros.values import replace

LADDER = RetryPolicy(initial=timedelta(minutes=1), max=timedelta(days=1))
"""How long until the next one. What is lost is found within about as long as it had taken, and within a day; a bound of
three days has 13 of them, one of a year some 390."""


def next_question(leg: Leg, now: float, seed: str) -> Leg:
    """The same, to be asked on the next rung of the ladder; behind its last one is the bound."""
    assert leg.finish_by is not None
    rung = leg.rung + 1
    return replace(leg, rung=rung, due=min(now + LADDER.delay(rung, seed), leg.finish_by))

"""A saga under a lock, queued, refused or joined to another one, beside cancel, pause, terminate and its deadline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros import Existing, Lock, Pivot, Saga, Step
from choros_verify import Bounds, explore
from choros_verify.exploration.bounds import TERMINATING
from choros_verify.exploration.states import Left
from tests.simulation.locked import SOON, Transfer, not_transferred, put_back, report, take_out, transferred

NOTHING = Bounds(Left(0, 0, 0))
TAKE: Any = Step(take_out, to="bank", compensation=put_back, retry=SOON)
BEFORE = Existing(to="bank", compensation=put_back, name="before")


def under(when_taken: Any, first: Any = TAKE) -> Saga[Transfer]:
    within = timedelta(minutes=1) if when_taken == "queue" else None
    return Saga(
        "transfer",
        start=Transfer,
        lock=Lock("account", key=lambda wanted: wanted.source, when_taken=when_taken, within=within),
        deadline=timedelta(hours=1),
        steps=(first, Pivot(report, to="books", retry=SOON)),
        completed=transferred,
        compensated=not_transferred,
    )


@pytest.mark.parametrize(("when_taken", "states"), [("queue", 168), ("refuse", 160), ("join", 158)])
def test_every_moment_at_which_it_is_told_of_its_lock_keeps_the_promises(when_taken: str, states: int) -> None:
    found = explore(under(when_taken), NOTHING)
    assert (found.complete, found.violation, found.states) == (True, "", states)
    assert set(found.ends) == {"completed", "compensated", "parked"}


@pytest.mark.parametrize("first", [TAKE, BEFORE], ids=["step", "existing"])
def test_it_is_terminated_at_every_moment(first: Any) -> None:
    found = explore(under("queue", first), replace(NOTHING, acts=TERMINATING))
    assert (found.complete, found.violation) == (True, "")
    assert "terminated" in found.ends


@pytest.mark.long
def test_what_has_something_to_undo_is_not_undone_beside_whoever_has_the_lock() -> None:
    """It is parked, and goes on once a person tries again, or its turn comes."""
    found = explore(under("refuse", BEFORE), Bounds(Left(0, 0, 1)))
    assert (found.complete, found.violation) == (True, "")
    assert {"completed", "compensated", "parked"} <= set(found.ends)

"""`Sleep` and `Existing` beside each other and inside of composites: every interleaving keeps every promise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros import Branch, Existing, ForEach, Parallel, Pivot, Saga, Sleep, Step, When
from choros_verify import Bounds, explore
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.states import Left
from tests.exploration.trips import BookTrip, book_room, buy_ticket, cancel_room, drop_trip, trip_off
from tests.saga.parcels import Line, lines, order_of, reserve, saga_of


def room(number: int) -> Step:
    return Step(book_room, to=f"hotel-{number}", compensation=cancel_room, name=f"book_room_{number}")


def nap(name: str) -> Sleep:
    return Sleep(timedelta(days=1), name=name)


def wanted(trip: BookTrip) -> bool:
    return bool(trip.trip)


def order_stays(line: Line) -> timedelta:
    return timedelta(days=line.count)


OFFICE, TICKET = Existing(to="office", compensation=drop_trip), Pivot(buy_ticket, to="railway")
PAIRS: dict[str, Any] = {
    "a sleep in a branch that is taken": (room(1), When(wanted, [nap("nap"), room(2)], [room(3)]), TICKET),
    "a choice between sleeps": (room(1), When(wanted, nap("nap"), Sleep(timedelta(hours=1), name="doze")), room(2)),
    "a sleep behind what was there before": (OFFICE, nap("nap"), room(1), TICKET, nap("after")),
    "a choice behind what was there before": (OFFICE, When(wanted, room(1), room(2)), TICKET),
    "a sleep beside a step": (Parallel(Branch("one", room(1), nap("nap")), room(2), name="both"),),
    "two sleeps side by side": (
        Parallel(Branch("one", nap("nap1"), room(1)), Branch("two", nap("nap2"), room(2)), name="both"),
    ),
    "side by side behind what was there before": (OFFICE, Parallel(room(1), room(2), name="both"), TICKET),
}


@pytest.mark.cross
@pytest.mark.parametrize("pair", PAIRS)
def test_every_interleaving_of_a_pair_keeps_every_promise(pair: str) -> None:
    side_by_side = any(isinstance(step, Parallel) for step in PAIRS[pair])
    bounds = Bounds(Left(1, 1, 0), frozenset({"cancel", "pause"})) if side_by_side else Bounds()
    found = explore(Saga("pair", start=BookTrip, steps=PAIRS[pair], compensated=trip_off), bounds)
    assert found.complete, found.story
    assert found.violation == "", found.story
    assert {"completed", "compensated", "parked"} == set(found.ends)


@pytest.mark.long
@pytest.mark.parametrize(
    "steps",
    [(Sleep(order_stays), reserve), pytest.param((reserve, nap("nap")), marks=pytest.mark.nightly)],
    ids=["before", "behind"],
)
def test_every_item_of_a_list_sleeps_for_itself(steps: Any) -> None:
    saga = saga_of(ForEach(lines, steps, at_once=2))
    bounds = Bounds(Left(0, 0, 0), frozenset({"cancel", "pause"}))
    found = Exploration(saga, bounds, start=order_of("a", "b").to_json()).run()
    assert found.complete and not found.violation
    assert {"completed", "compensated", "parked"} == set(found.ends)

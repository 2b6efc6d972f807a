"""A saga that has ended is run again: from every end, and every step from which that may be, each promise is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros import Fact, Publish, Retriable, Saga, Wait
from choros_verify.exploration.bounds import AGAIN, Bounds
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutated_reruns import RERUN_MUTANTS
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.states import Left
from choros_verify.exploration.variant import Variant
from tests.every_day import every_day
from tests.exploration import pairs, trips
from tests.exploration.test_locked import BEFORE, under

BOUNDS = Bounds(Left(0, 0, 0), acts=AGAIN)


class TripPlanned(Fact):
    trip: str


def planned(trip: trips.BookTrip) -> TripPlanned:
    return TripPlanned(trip=trip.trip)


def tidy_room(trip: trips.BookTrip) -> trips.CancelRoom:
    return trips.CancelRoom(trip=trip.trip)


def never(word: pairs.Word) -> bool:
    return False


def saga(name: str, *steps: Any) -> Saga[Any]:
    return Saga(name, start=trips.BookTrip, steps=steps, completed=trips.trip_booked, compensated=trips.trip_off)


ROOM, TICKET = trips.trip_saga.steps
SAGAS: dict[str, Saga[Any]] = {
    "a pivot": trips.trip_saga,
    "a wait": saga("waiting", ROOM, Wait(pairs.Word, within=timedelta(days=1)), TICKET),
    "a wait, told no": saga("asked", Wait(pairs.Word, within=timedelta(days=1), accept=never), ROOM, TICKET),
    "a fact held": saga("held", ROOM, Publish(planned), TICKET, Retriable(tidy_room, to="hotel")),
    "what was there before": trips.existing_saga,
    "a lock, queued": under("queue"),
    "a lock, refused": under("refuse"),
    "a lock, joined": under("join"),
    "a lock, and what was there before": under("queue", BEFORE),
}


def exploration(name: str) -> Exploration:
    return Exploration(SAGAS[name], BOUNDS)


AT_NIGHT = ("what was there before", "a lock, refused", "a lock, joined")


@pytest.mark.parametrize(
    "name",
    [
        *every_day([one for one in SAGAS if one not in AT_NIGHT], ["a wait"]),
        *every_day(AT_NIGHT, (), pytest.mark.nightly),
    ],
)
def test_whatever_is_run_again_keeps_every_promise(name: str) -> None:
    once, found = exploration(name).run(), exploration(name).run_again()
    assert found.complete and found.violation is None, found.violation
    assert found.states > once.states


@pytest.mark.long
@pytest.mark.parametrize("left", [Left(1, 0, 0), Left(0, 1, 0), Left(0, 0, 1)], ids=["duplicate", "crash", "retry"])
@pytest.mark.parametrize("name", ["a wait", pytest.param("a lock, joined", marks=pytest.mark.nightly)])
def test_and_so_it_does_with_a_duplicate_a_crash_or_a_retry_anywhere(name: str, left: Left) -> None:
    once, more = exploration(name).run_again(), Exploration(SAGAS[name], Bounds(left, acts=AGAIN)).run_again()
    assert more.complete and more.violation is None, more.violation
    assert more.states > once.states


@pytest.mark.parametrize(
    ("mutant", "on", "told"),
    [
        ("again though it stands", "a wait", "book_room has taken effect twice"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                ("kept though undone", "a pivot", "buy_ticket is begun before book_room has taken effect"),
                ("no taken for yes", "a wait, told no", "the saga goes on, though word did not let it"),
                ("held facts forgotten", "a fact held", "the saga is completed, and it published trip-booked.v1"),
                ("goes on without its lock", "a lock, queued", "the saga begins without its lock"),
            )
        ),
    ],
)
def test_no_rule_of_running_again_is_left_out_unseen(mutant: str, on: str, told: str) -> None:
    variant = Variant(RERUN_MUTANTS[mutant])
    protocol = Protocol(variant.begin, variant.decide, variant.why_not, variant.kept_by)
    changed = replace(exploration(on), protocol=protocol)
    assert changed.run().violation is None, "a saga that runs once needs no such rule"
    assert str(changed.run_again().violation) == told

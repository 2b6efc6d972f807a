"""Sagas explored to the end within their budgets, with nothing broken on the way."""

from typing import Any

import pytest

from choros import Branch, Parallel, Pivot, Saga, Step
from choros_verify import LONG, Bounds, explore
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.report import lines, report
from choros_verify.exploration.states import Left
from reference_services.order.saga import order_saga as reference_saga
from tests.exploration.trips import BookRoom, BookTrip, cancel_room, existing_saga, five_saga, sleeping_saga, trip_saga
from tests.saga.delivery import changing_saga
from tests.saga.invoice import delivery
from tests.saga.loan import loan_saga
from tests.saga.shop import order_saga, parcel_saga
from tests.saga.trip import Booked, ChargeCard, flight, hotel
from tests.saga.trip import BookTrip as ByAir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saga", "least"),
    [
        (trip_saga, 500),
        pytest.param(order_saga, 3_000, marks=pytest.mark.long),
        pytest.param(parcel_saga, 3_000, marks=pytest.mark.nightly),
        pytest.param(sleeping_saga, 500, marks=pytest.mark.nightly),
        pytest.param(existing_saga, 1_000, marks=pytest.mark.nightly),
    ],
    ids=["two steps", "the order", "every kind of node", "sleeping", "what was there before"],
)
def test_every_interleaving_of_a_saga_keeps_every_promise(saga: Saga[Any], least: int) -> None:
    found = explore(saga)
    print("\n".join(lines(found)))  # noqa: T201
    assert found.complete, found.story
    assert found.states >= least
    assert {"completed", "compensated", "parked"} == set(found.ends)


def pay(book_flight: Booked | None, book_hotel: Booked | None) -> ChargeCard:
    return ChargeCard(references=[one.reference for one in (book_flight, book_hotel) if one])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "join", [{"first": 1}, pytest.param({"at_least": 1}, marks=pytest.mark.nightly)], ids=["the first", "enough"]
)
def test_losers_of_several_steps_each_keep_no_saga_from_its_end(join: dict[str, Any]) -> None:
    """A branch that may be of several steps has a state of its own, beside those of its steps."""
    race = Parallel(Branch("fly", flight), Branch("sleep", hotel), name="race", **join)
    saga = Saga("trip", start=ByAir, steps=(race, Pivot(pay, to="payment")))
    found = explore(saga, Bounds(Left(0, 0, 0), acts=frozenset({"cancel"})))
    assert found.complete, found.story
    assert {"completed", "compensated"} <= set(found.ends)


@pytest.mark.slow
@pytest.mark.nightly
def test_every_moment_at_which_a_saga_hears_of_a_fact() -> None:
    found = explore(delivery, Bounds(Left(1, 0, 0), acts=frozenset({"cancel", "signal"})))
    assert found.complete, found.story
    assert {"completed", "compensated"} <= set(found.ends)


@pytest.mark.long
@pytest.mark.slow
def test_every_moment_at_which_somebody_tells_a_saga_something() -> None:
    """Early, late, twice, beside a cancel, a lapse, a pause; the pauses of both waits take longer."""
    found = explore(loan_saga, Bounds(Left(1, 0, 0), acts=frozenset({"cancel", "signal"})))
    assert found.complete, found.story
    assert found.states > 900


@pytest.mark.nightly
def test_every_moment_of_a_saga_that_waits_twice() -> None:
    found = explore(loan_saga)
    assert found.complete, found.story
    assert {"completed", "compensated", "parked"} == set(found.ends)


@pytest.mark.slow
def test_every_moment_at_which_somebody_asks_a_saga_for_a_change() -> None:
    """Early, late, twice, beside a cancel and beside what uses it."""
    found = explore(changing_saga, Bounds(Left(1, 0, 0), acts=frozenset({"cancel", "update"})))
    assert found.complete, found.story
    assert found.states > 500


@pytest.mark.nightly
def test_every_moment_of_a_saga_that_is_asked_for_changes() -> None:
    """Beside a pause, a crash, retries and a person as well."""
    found = explore(changing_saga)
    assert found.complete, found.story
    assert {"completed", "compensated", "parked"} == set(found.ends)


@pytest.mark.nightly
def test_the_reference_saga_is_explored_within_two_gibibytes() -> None:
    found = explore(reference_saga)
    assert found.complete, found.story
    assert found.states > 10_000
    assert found.peak_mib < 2_048


@pytest.mark.nightly
def test_two_duplicates_and_two_crashes_break_nothing_either() -> None:
    found = explore(trip_saga, Bounds(LONG))
    assert found.complete, found.story


@pytest.mark.nightly
def test_five_steps_are_explored_to_the_end() -> None:
    found = explore(five_saga, Bounds(acts=frozenset({"cancel", "retry"})))
    assert found.complete, found.story
    assert found.states > 5_000


@pytest.mark.nightly
@pytest.mark.parametrize("saga", [trip_saga, parcel_saga], ids=["two steps", "every kind of node"])
def test_effects_at_providers_keep_every_promise(saga: Saga[Any]) -> None:
    names = frozenset(saga.outline.leaves)
    found = explore(saga, Bounds(providers=names))
    assert found.complete, found.story


@pytest.mark.nightly
def test_every_declared_refusal_is_as_good_as_one() -> None:
    one, all_ = (explore(trip_saga, Bounds(refusals=number)) for number in (1, 0))
    assert one.complete
    assert (one.states, one.transitions) == (all_.states, all_.transitions)


@pytest.mark.long
def test_a_deadline_of_the_saga_may_pass_at_every_moment() -> None:
    within = explore(order_saga, Bounds(acts=frozenset()))
    without = explore(replaced(order_saga, deadline=None), Bounds(acts=frozenset()))
    assert within.complete
    assert within.states > without.states


def replaced(saga: Saga[Any], **changes: Any) -> Saga[Any]:
    return Saga(saga.name, start=saga.start, steps=saga.steps, **changes)


def test_what_is_capped_is_not_called_complete() -> None:
    found = explore(trip_saga, Bounds(most_states=50))
    assert not found.complete
    assert not found.violation
    assert "NOT complete" in lines(found)[-1]


@pytest.mark.nightly
def test_a_seed_changes_the_order_and_nothing_else() -> None:
    plain, shuffled = (explore(trip_saga, Bounds(seed=seed)) for seed in (0, 7))
    assert shuffled.complete
    assert shuffled.depth == plain.depth
    assert shuffled.ends.keys() == plain.ends.keys()


def test_no_budget_at_all_still_explores_refusals_timers_and_cancels() -> None:
    found = explore(trip_saga, Bounds(Left(0, 0, 0)))
    assert found.complete
    assert set(found.ends) == {"completed", "compensated", "parked"}


def book_nothing(trip: BookTrip) -> BookRoom:
    raise ValueError(trip.trip)


def test_a_function_that_raises_is_told_of() -> None:
    saga = Saga("odd", start=BookTrip, steps=(Step(book_nothing, to="hotel", compensation=cancel_room),))
    found = explore(saga)
    assert found.notes == ["book_nothing raised ValueError"]
    assert any("--start" in line for line in lines(found))


def test_the_messages_may_be_given() -> None:
    told: set[str] = set()

    def book(trip: BookTrip) -> BookRoom:
        told.add(trip.trip)
        return BookRoom(trip=trip.trip)

    saga = Saga("odd", start=BookTrip, steps=(Step(book, to="hotel", compensation=cancel_room),))
    exploration = Exploration(saga, Bounds(Left(0, 0, 0)), start='{"trip": "Delphi"}', replies={"choros.done.v1": "{}"})
    assert report(exploration, exploration.run()).complete
    assert told == {"Delphi"}

"""What a loop says: the way out of each mistake, what it lists, and where a saga stands in it."""

from collections.abc import Callable
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.saga.machine.machine import begin
from choros.saga.nodes import ForEach, Parallel, Pivot, Step
from choros.saga.saga import Saga
from choros.testing import SagaTest
from tests.saga.trip import BookCar, Booked, BookFlight, BookTrip, book_car, car, flight, give_flight_back


def cars(trip: BookTrip) -> list[int]:
    return [7, 8]


def cars_of(trip: BookTrip) -> tuple[int, str, Any]:
    return (1, "", None)


def trips(trip: BookTrip) -> list[BookTrip]:
    return [trip]


def broken(trip: BookTrip) -> list[int]:
    raise KeyError


def book_numbered(trip: BookTrip, number: int) -> BookCar:
    return BookCar(trip=str(number))


step = Step(book_numbered, to="cars", compensation=give_flight_back)


def saga_of(*steps: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps)


@pytest.mark.parametrize(
    ("declare", "hint"),
    [
        (lambda: ForEach(cars, []), "give it a node, or leave it out."),
        (lambda: ForEach(cars, Pivot(book_car, to="cars")), "put the pivot before or behind it."),
        (lambda: ForEach(trips, step), "give the items a type of their own."),
        (lambda: ForEach(cars_of, step), "annotate it: -> list[OrderLine], for example."),
        (lambda: Parallel(car, flight, first=5), "give a number from 1 to 1; without one, all have to succeed."),
    ],
)
def test_a_mistake_has_a_way_out(declare: Callable[[], Any], hint: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        saga_of(declare())
    assert refused.value.hint == hint


def test_a_loop_notes_how_many_it_lists_and_holds_the_saga_while_it_is_parked() -> None:
    begun = begin(saga_of(ForEach(cars, step)).tree, "s", BookTrip().to_json(), 0.0, cause="start")
    assert [(one.kind, one.code) for one in begun.events][:2] == [("started", ""), ("listed", "2")]
    held = SagaTest(saga_of(Parallel(ForEach(broken, step), car), flight))
    held.start(BookTrip())
    held.expect_command(BookCar).reply(Booked())
    held.expect_nothing()
    assert list(held.instance.parked_at) == ["parallel.broken"]


def test_where_a_saga_stands_in_a_loop_on_the_way_back() -> None:
    saga = saga_of(ForEach(cars, step), flight)
    test = SagaTest(saga)
    test.start(BookTrip())
    for _ in cars(BookTrip()):
        test.expect_command(BookCar).reply(Booked())
    test.expect_command(BookFlight).refuse("full")
    assert saga.at_work(test.instance) == "cars[1].book_numbered"

"""What all composites have in common: where a saga stands in them, and running it again from before or behind one."""

from datetime import timedelta
from typing import Any

import pytest

from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.nodes import Branch, Check, Parallel, Publish, Repeat, Scope, Step, When
from choros.saga.saga import Saga
from choros.testing import SagaTest
from tests.saga.trip import (
    BookCar,
    Booked,
    BookFlight,
    BookHotel,
    BookTrip,
    CarWanted,
    CheckPassport,
    GiveBack,
    SendTicket,
    car,
    car_is_wanted,
    check_passport,
    flight,
    give_back_ticket,
    hotel,
    send_ticket,
    wants_car,
)

last = Step(send_ticket, to="mail", compensation=give_back_ticket)


def saga_of(*steps: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps)


COMPOSITES = {
    "choice": When(wants_car, then=[car, flight], name="it"),
    "branch": Branch("it", car, flight),
    "parallel": Parallel(car, flight, name="it"),
    "quorum": Parallel(car, flight, hotel, at_least=2, name="it"),
    "scope": Scope(car, flight, name="it"),
}


def begun(saga: Saga[BookTrip]) -> SagaTest:
    test = SagaTest(saga)
    test.start(BookTrip())
    return test


def answered(test: SagaTest, *commands: Any) -> None:
    for command in commands:
        sent = test.expect_command(command)
        sent.reply(Booked() if command in (BookCar, BookFlight, BookHotel) else None)


@pytest.mark.parametrize("kind", ["choice", "branch", "scope"])
def test_where_a_saga_stands_in_a_composite_forward_and_back(kind: str) -> None:
    saga = saga_of(COMPOSITES[kind], last)
    test = begun(saga)
    assert saga.at_work(test.instance) == "it.book_car"
    answered(test, BookCar)
    assert saga.at_work(test.instance) == "it.book_flight"
    answered(test, BookFlight)
    assert saga.at_work(test.instance) == "send_ticket"
    test.cancel()
    assert saga.at_work(test.instance) == "send_ticket"
    test.expect_command(SendTicket)
    test.expect_compensation(GiveBack).reply()
    assert saga.at_work(test.instance) == "it.book_flight"


def test_where_a_saga_stands_with_several_under_way() -> None:
    saga = saga_of(COMPOSITES["parallel"], last)
    test = begun(saga)
    assert saga.at_work(test.instance) == "it.book_car"
    first, second = test.expect_command(BookCar), test.expect_command(BookFlight)
    first.reply(Booked())
    assert saga.at_work(test.instance) == "it.book_flight"
    second.reply(Booked())
    test.cancel()
    test.expect_command(SendTicket)
    test.expect_compensation(GiveBack).reply()
    assert saga.at_work(test.instance) == "it.book_flight"  # the newest


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_composite_that_was_not_come_to_is_where_nothing_stands(kind: str) -> None:
    saga = saga_of(hotel, COMPOSITES[kind])
    root = saga.tree.root
    empty = Instance("s", BookTrip().to_json())
    node = root.nodes[1]  # type: ignore[attr-defined]  # a sequence has them
    assert node.at_work(empty.nodes, True) is None
    assert node.at_work(empty.nodes, False) in ("it", "it.book_car")


# --- running it again ---


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_composite_before_the_step_is_kept_whole(kind: str) -> None:
    test = begun(saga := saga_of(COMPOSITES[kind], last))
    answered(test, BookCar, BookFlight)
    if kind == "quorum":
        answered(test, BookHotel)
    answered(test, SendTicket)
    assert test.status == "completed"
    assert why_not(saga.outline, test.instance, "send_ticket") == "send_ticket still stands, and would be there twice."


def test_an_undone_saga_keeps_what_changed_nothing_and_no_composite_that_was_undone() -> None:
    saga = saga_of(Branch("office", Check(check_passport, to="office")), car, flight)
    test = begun(saga)
    answered(test, CheckPassport, BookCar)
    test.expect_command(BookFlight).refuse("full")
    test.expect_compensation(GiveBack).reply()
    assert why_not(saga.outline, test.instance, "book_car") == ""
    kept = kept_by(saga.outline, test.instance, "book_car")
    assert {path: state.owner for path, state in kept.items()} == {"office": "saga", "office.check_passport": "saga"}
    again = begin(saga.tree, "s2", BookTrip().to_json(), 0.0, cause="rerun", kept=kept)
    assert [send.key.path for send in again.sends] == ["book_car"]
    assert why_not(saga.outline, test.instance, "book_flight").startswith("book_car does not stand any more")


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_composite_that_was_undone_does_not_stand(kind: str) -> None:
    saga = saga_of(COMPOSITES[kind], last)
    test = begun(saga)
    for command in (BookCar, BookFlight, *((BookHotel,) if kind == "quorum" else ())):
        answered(test, command)
    test.cancel()
    test.expect_command(SendTicket)
    while test.status == "compensating":
        test.expect_compensation(GiveBack).reply()
    assert why_not(saga.outline, test.instance, "send_ticket").startswith("it does not stand any more")
    assert why_not(saga.outline, test.instance, "it") == ""
    assert kept_by(saga.outline, test.instance, "it") == {}


def test_a_composite_with_a_dropped_fact_does_not_stand() -> None:
    saga = saga_of(Branch("office", Check(check_passport, to="office"), Publish(car_is_wanted)), car)
    test = begun(saga)
    answered(test, CheckPassport)
    test.expect_command(BookCar).refuse("none_left")
    assert why_not(saga.outline, test.instance, "book_car").startswith("office does not stand any more")


def test_a_step_within_a_composite_is_no_place_to_begin() -> None:
    saga = saga_of(COMPOSITES["branch"], last)
    test = begun(saga)
    test.cancel()
    answered_by = test.expect_command(BookCar)
    test.expect_compensation(GiveBack).reply()
    assert answered_by.key.path == "it.book_car"
    sentence = why_not(saga.outline, test.instance, "it.book_car")
    assert sentence == "it.book_car stands in it; a saga is run again from there, or from another of its steps."
    assert why_not(saga.outline, test.instance, "nothing").startswith("The saga commands no step 'nothing'")


def test_timers_in_a_composite_wake_the_saga() -> None:
    test = begun(saga_of(COMPOSITES["quorum"]))
    test.advance(timedelta(seconds=30))
    assert test.instance.wake_at is not None
    assert test.instance.wake_at > 30
    assert repr(COMPOSITES["branch"]) == "Branch('it', ...)"
    assert repr(COMPOSITES["parallel"]) == "Parallel(name='it')"


# --- beside what goes on ----------------------------------------------------------------------------------------------


def broken_fact(trip: BookTrip) -> CarWanted:
    raise LookupError


def broken_question(trip: BookTrip) -> bool:
    raise LookupError


PARKED = {
    "fact": (Publish(broken_fact), "broken_fact"),
    "choice": (When(broken_question, then=hotel), "broken_question"),
    "repetition": (Repeat(hotel, until=broken_question, at_most=2, name="again"), "broken_question"),
}


@pytest.mark.parametrize("name", PARKED)
def test_what_is_parked_is_not_asked_again_by_what_is_answered_beside_it(name: str) -> None:
    node, function = PARKED[name]
    test = begun(saga_of(Parallel(Branch("one", flight, car), Branch("two", node)), last))
    flown = test.expect_command(BookFlight)
    if name == "repetition":
        answered(test, BookHotel)
    assert test.instance.why_parked == f"{function} raised LookupError"
    before = test.instance.parked_at
    flown.reply(Booked())
    answered(test, BookCar)
    test.expect_nothing()
    assert (test.status, test.instance.parked_at) == ("parked", before)


def test_what_is_over_is_not_asked_again_either() -> None:
    asked: list[str] = []

    def is_booked(hotel: Booked) -> bool:
        asked.append("booked")
        return True

    def is_wanted(trip: BookTrip) -> bool:
        asked.append("wanted")
        return True

    beside = (Repeat(hotel, until=is_booked, at_most=2, name="again"), When(is_wanted, then=last, name="wanted"))
    test = begun(saga_of(Parallel(Branch("one", flight, car), *beside)))
    answered(test, BookHotel, SendTicket, BookFlight, BookCar)
    assert (test.status, asked) == ("completed", ["wanted", "booked"])

"""A choice: decided once and kept, undone through what was chosen, and what a declaration of one may not say."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Done
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import RetryRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import decide
from choros.saga.nodes import Branch, Parallel, Pivot, Publish, Retriable, Step, When
from choros.saga.saga import Saga
from choros.testing import SagaTest
from tests.saga.trip import (
    BookCar,
    Booked,
    BookFlight,
    BookTrip,
    CarNotWanted,
    CarWanted,
    ChargeCard,
    GiveBack,
    SendTicket,
    SendVoucher,
    book_car,
    book_flight,
    car,
    car_is_not_wanted,
    car_is_wanted,
    flight,
    give_car_back,
    hotel,
    send_ticket,
    send_voucher,
    wants_car,
)


def saga_of(*steps: Any, **more: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps, **more)


def charge(book_flight: Booked, book_car: Booked | None) -> ChargeCard:
    return ChargeCard(references=[book_flight.reference, book_car.reference if book_car else "none"])


def never(trip: BookTrip) -> bool:
    return False


def walks(trip: BookTrip) -> bool:
    return trip.trip == "walk"


chosen = saga_of(flight, When(wants_car, then=car, otherwise=Publish(car_is_not_wanted)), Pivot(charge, to="payment"))


def begun(saga: Saga[BookTrip], start: BookTrip | None = None) -> SagaTest:
    test = SagaTest(saga)
    test.start(start or BookTrip())
    return test


def test_the_branch_whose_question_is_answered_yes_is_taken() -> None:
    test = begun(chosen)
    test.expect_command(BookFlight).reply(Booked(reference="f"))
    test.expect_command(BookCar, to="cars").reply(Booked(reference="c"))
    assert test.expect_command(ChargeCard).message.references == ["f", "c"]
    assert test.instance.state("wants_car").choice == "wants_car"


def test_without_a_yes_the_otherwise_is_taken_and_what_was_not_asked_is_not_known() -> None:
    test = begun(chosen, BookTrip(car=False))
    test.expect_command(BookFlight).reply(Booked(reference="f"))
    pivot = test.expect_command(ChargeCard)
    assert pivot.message.references == ["f", "none"]
    test.expect_facts()  # it is held, as any fact before the pivot
    pivot.reply(ChargeCard.reply_type())
    test.expect_facts(CarNotWanted)
    assert test.status == "completed"


def test_an_empty_otherwise_goes_on() -> None:
    test = begun(saga_of(When(wants_car, then=car), flight), BookTrip(car=False))
    test.expect_command(BookFlight)
    assert test.instance.state("wants_car").progress == "ok"


def test_branches_of_another_when_are_further_ones_of_the_same_choice() -> None:
    saga = saga_of(When(never, then=hotel, otherwise=When(walks, then=flight, otherwise=car)))
    begun(saga, BookTrip(trip="walk")).expect_command(BookFlight)
    begun(saga, BookTrip(trip="drive")).expect_command(BookCar)
    assert saga.outline.paths == ["never.book_hotel", "never.book_flight", "never.book_car"]


def test_a_refusal_undoes_what_was_chosen_and_what_stands_before_the_choice() -> None:
    test = begun(chosen)
    test.expect_command(BookFlight).reply(Booked(reference="f"))
    test.expect_command(BookCar).reply(Booked(reference="c"))
    test.expect_command(ChargeCard).refuse("declined")
    test.expect_compensation(GiveBack(what="car c")).reply()
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    assert test.status == "compensated"


def test_a_refusal_in_a_branch_undoes_what_stands_before_the_choice() -> None:
    test = begun(chosen)
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookCar).refuse("none_left")
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    assert test.status == "compensated"


def test_a_choice_that_was_never_come_to_has_nothing_to_undo() -> None:
    test = begun(chosen)
    test.expect_command(BookFlight).refuse("full")
    assert test.status == "compensated"


def test_it_is_decided_once_and_kept() -> None:
    answers = iter([True])
    asked: list[bool] = []

    def fickle(trip: BookTrip) -> bool:
        asked.append(next(answers, False))
        return asked[-1]

    test = begun(saga_of(When(fickle, then=[car, flight], otherwise=hotel)))
    stored = Instance.loads(test.instance.dumps())  # another process reads it
    assert stored == test.instance
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(BookFlight).refuse("full")
    test.expect_compensation(GiveBack).reply()
    assert (test.status, asked) == ("compensated", [True])


def test_a_question_that_raises_parks_the_choice_and_a_person_has_it_asked_again() -> None:
    broken = [True]

    def unsure(trip: BookTrip) -> bool:
        if broken.pop():
            raise ValueError
        return True

    broken[:] = [False, True]
    saga = saga_of(When(unsure, then=car))
    test = begun(saga)
    assert (test.status, test.instance.why_parked) == ("parked", "unsure raised ValueError")
    assert list(test.instance.parked_at) == ["unsure"]
    decision = decide(saga.tree, test.instance, [RetryRequested("r", "unsure", 1)], 0.0)
    assert [send.key.path for send in decision.sends] == ["unsure.book_car"]


def test_a_question_that_answers_with_no_bool_parks_the_choice() -> None:
    def odd(trip: BookTrip) -> bool:
        return trip.trip  # type: ignore[return-value]  # what a type checker would have said

    test = begun(saga_of(When(odd, then=car)))
    assert test.instance.why_parked == "odd returned str, not bool"


def test_a_parked_choice_is_no_obstacle_to_a_cancel() -> None:
    def odd(trip: BookTrip) -> bool:
        raise ValueError

    test = begun(saga_of(flight, When(odd, then=car)))
    test.expect_command(BookFlight).reply(Booked())
    assert test.instance.parked_at
    test.cancel()
    test.expect_compensation(GiveBack).reply()
    assert test.status == "compensated"


def test_facts_of_the_branch_that_was_taken_leave_at_the_end() -> None:
    saga = saga_of(When(wants_car, then=[car, Publish(car_is_wanted)], otherwise=Publish(car_is_not_wanted)), flight)
    test = begun(saga)
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(BookFlight).reply(Booked())
    test.expect_facts(CarWanted)
    test = begun(saga)
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(BookFlight).refuse("full")
    test.expect_compensation(GiveBack).reply()
    test.expect_facts()
    assert test.instance.state("wants_car.car_is_wanted").progress == "retracted"


def test_each_branch_may_have_the_pivot() -> None:
    def car_pivot(trip: BookTrip) -> BookCar:
        return BookCar(trip=trip.trip)

    saga = saga_of(
        When(wants_car, then=Pivot(car_pivot, to="cars"), otherwise=Pivot(book_flight, to="flights")),
        Retriable(send_ticket, to="mail"),
    )
    assert saga.outline.pivots == ("wants_car.car_pivot", "wants_car.book_flight")
    for start, command in ((BookTrip(), BookCar), (BookTrip(car=False), BookFlight)):
        test = begun(saga, start)
        pivot = test.expect_command(command)
        test.cancel()
        pivot.reply(Booked())
        test.expect_command(SendTicket).reply()  # the cancel came too late
        assert test.status == "completed"


def test_behind_the_pivot_a_branch_only_goes_forward() -> None:
    post = When(wants_car, then=Retriable(send_ticket, to="mail"), otherwise=Retriable(send_voucher, to="mail"))
    test = begun(saga_of(Pivot(book_flight, to="flights"), post), BookTrip(car=False))
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(SendVoucher).reply(Done())
    assert test.status == "completed"


def test_a_choice_within_a_choice() -> None:
    saga = saga_of(When(wants_car, then=When(walks, then=flight, otherwise=car), otherwise=hotel))
    test = begun(saga, BookTrip(trip="walk"))
    assert test.expect_command(BookFlight).key.path == "wants_car.walks.book_flight"
    test.cancel()
    test.expect_compensation(GiveBack).reply()
    assert test.status == "compensated"


# --- what may not be said ---


def no_bool(trip: BookTrip) -> int:
    return 1


def two_steps_back(trip: BookTrip, book_car: Booked) -> ChargeCard:
    return ChargeCard(references=[book_car.reference])


MISTAKES: Sequence[tuple[Any, str]] = [
    (
        lambda: saga_of(When(no_bool, then=car)),  # type: ignore[arg-type]  # a mistake
        "When takes a function that returns a bool, but no_bool returns int",
    ),
    (lambda: saga_of(When(True, then=car)), "True is no function"),  # type: ignore[arg-type]  # a mistake
    (lambda: saga_of(When(wants_car, then=())), r"When\(wants_car\) has nothing to do then"),
    (lambda: saga_of(When(wants_car, then=[book_car])), "book_car is no step"),  # type: ignore[list-item]  # a mistake
    (lambda: saga_of(When(wants_car, then="x")), "is no sequence"),  # type: ignore[arg-type]  # a mistake
    (lambda: saga_of(When(wants_car, then=car, otherwise=car)), "two steps are called wants_car.book_car"),
    (
        lambda: saga_of(When(wants_car, then=car, otherwise=When(wants_car, then=flight))),
        "two steps are called wants_car",
    ),
    (
        lambda: saga_of(When(wants_car, then=Pivot(book_flight, to="flights"), otherwise=hotel)),
        "wants_car has a pivot in some of its branches only",
    ),
    (
        lambda: saga_of(When(wants_car, then=Pivot(book_flight, to="flights"))),
        "give each branch one, also the otherwise",
    ),
    (
        lambda: saga_of(When(wants_car, then=Publish(car_is_wanted))),
        "commands nobody",
    ),
    (
        lambda: saga_of(When(wants_car, then=car), Pivot(two_steps_back, to="payment")),
        "two_steps_back needs Booked, which may not be known by then",
    ),
    (
        lambda: saga_of(When(wants_car, then=Retriable(send_ticket, to="mail"))),
        "wants_car.send_ticket is Retriable, so it must stand after the pivot",
    ),
    (
        lambda: saga_of(Pivot(book_flight, to="flights"), When(wants_car, then=car)),
        "wants_car.book_car can be undone, but stands after the pivot",
    ),
    (lambda: saga_of(deep(4)), "has a path of up to 203 characters; 200 fit into a command key"),
]


@pytest.mark.parametrize(("declare", "sentence"), MISTAKES)
def test_a_mistake_is_a_sentence(declare: Callable[[], object], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        declare()


def deep(times: int) -> When:
    inner: Any = Step(book_car, to="cars", compensation=give_car_back, name="c" * (203 - 4 * (48 + 1)))
    for number in range(times):
        inner = When(wants_car, then=inner, name=f"w{number}".ljust(48, "w"))
    return inner  # type: ignore[no-any-return]  # at least one


def test_the_path_of_a_deep_node_may_fill_its_key() -> None:
    inner: Any = Step(book_car, to="cars", compensation=give_car_back, name="c" * 4)
    for number in range(4):
        inner = When(wants_car, then=inner, name=f"w{number}".ljust(48, "w"))
    assert [len(path) for path in saga_of(inner).outline.paths] == [200]


# --- how it is shown ---


def test_the_picture_has_a_diamond_with_the_answers_on_its_ways() -> None:
    picture = mermaid(chosen)
    assert '{"wants_car"}' in picture
    assert '-->|"wants_car: BookCar"|' in picture
    assert '-->|"otherwise"|' in picture


def test_the_outline_names_the_branches() -> None:
    told = outline(chosen)
    assert "  wants_car (when):" in told
    assert "    wants_car: book_car" in told
    assert "    otherwise: car_is_not_wanted" in told


def test_the_fingerprint_holds_the_shape_of_the_choice() -> None:
    text = chosen.fingerprint.text
    assert "wants_car: when\n  wants_car(book-trip): book_car\n  otherwise: car_is_not_wanted\n" in text
    other = saga_of(flight, When(wants_car, then=car), Pivot(charge, to="payment"))
    assert other.fingerprint.hash != chosen.fingerprint.hash


def test_a_branch_goes_through_its_nodes_and_is_skipped_once_it_is_over() -> None:
    saga = saga_of(Branch("stay", hotel, car), flight)
    test = begun(saga)
    hotel_booked = test.expect_command(saga.outline.commands[0].command_of())
    assert hotel_booked.key.path == "stay.book_hotel"
    hotel_booked.reply(Booked())
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(BookFlight).refuse("full")
    test.expect_compensation(GiveBack(what="car r")).reply()
    test.expect_compensation(GiveBack(what="hotel of t1")).reply()
    assert test.status == "compensated"


MISTAKES_BESIDE: Sequence[tuple[Any, str]] = [
    (lambda: saga_of(Branch("stay")), "there is nothing in stay"),
    (lambda: saga_of(Branch("No Name", car)), "'No Name' is no name for a step"),
    (lambda: saga_of(Parallel(car)), "parallel has one branch to run side by side"),
    (lambda: saga_of(Parallel()), "parallel has nothing to run side by side"),
    (lambda: saga_of(Parallel(car, book_car)), "book_car is no step"),  # type: ignore[arg-type]  # a mistake
    (lambda: saga_of(Parallel(car, Pivot(book_flight, to="flights"))), "there is a pivot in parallel"),
    (lambda: saga_of(Parallel(car, car)), "two steps are called parallel.book_car"),
    (lambda: saga_of(Parallel(car, hotel), Parallel(flight, car)), "two steps are called parallel"),
    (
        lambda: saga_of(Parallel(car, Step(charge_car, to="payment", compensation=give_car_back))),
        "charge_car needs Booked, which no earlier step replies with",
    ),
]


@pytest.mark.parametrize(("declare", "sentence"), MISTAKES_BESIDE)
def test_a_mistake_in_a_parallel_or_a_branch_is_a_sentence(declare: Callable[[], object], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        declare()


def charge_car(book_car: Booked) -> ChargeCard:
    return ChargeCard(references=[book_car.reference])

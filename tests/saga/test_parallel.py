"""Nodes side by side: each on its own, over when all are, and undone the newest first, whichever branch that is in."""

from datetime import timedelta
from typing import Any

import pytest

from choros.messages import Done
from choros.runtime.orchestrator.states import MOST_IN_RECORD
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    TimerFired,
)
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import Branch, Parallel, Pivot, Publish, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing import SagaTest
from choros.wire.command_key import CommandKey
from tests.saga.apart import Stored
from tests.saga.trip import (
    BookCar,
    Booked,
    BookFlight,
    BookHotel,
    BookTrip,
    CarNotWanted,
    CarWanted,
    ChargeCard,
    Charged,
    CheckPassport,
    GiveBack,
    SendTicket,
    SendVoucher,
    TripBooked,
    TripOff,
    book_car,
    book_flight,
    book_hotel,
    car,
    car_is_wanted,
    check_passport,
    flight,
    give_car_back,
    give_flight_back,
    give_hotel_back,
    hotel,
    trip_saga,
)


def begun(saga: Saga[BookTrip] = trip_saga, start: BookTrip | None = None) -> SagaTest:
    test = SagaTest(saga)
    test.start(start or BookTrip())
    return test


def saga_of(*steps: Any, **more: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps, **more)


pair = saga_of(Parallel(flight, hotel))


def test_all_branches_begin_at_once_and_what_follows_waits_for_all() -> None:
    test = begun()
    booked_flight, booked_hotel = test.expect_command(BookFlight), test.expect_command(BookHotel)
    passport = test.expect_command(CheckPassport, to="office")
    passport.reply()
    booked_hotel.reply(Booked(reference="h"))
    booked_car = test.expect_command(BookCar)
    booked_flight.reply(Booked(reference="f"))
    test.expect_nothing()
    booked_car.reply(Booked(reference="c"))
    assert test.expect_command(ChargeCard).message.references == ["f", "h", "c"]


def test_a_trip_without_a_car_to_its_end() -> None:
    test = begun(start=BookTrip(car=False))
    for command in (BookFlight, BookHotel):
        test.expect_command(command).reply(Booked())
    test.expect_command(CheckPassport).reply()
    test.expect_command(ChargeCard).reply(Charged())
    test.expect_facts(CarNotWanted)
    voucher = test.expect_command(SendTicket), test.expect_command(SendVoucher)
    voucher[1].reply()
    voucher[0].reply()
    test.expect_facts(TripBooked)
    assert test.status == "completed"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_is_undone_first_whichever_branch_it_is_in(order: tuple[int, int]) -> None:
    back = {BookFlight: "flight of t1", BookHotel: "hotel of t1"}
    saga = saga_of(Parallel(flight, hotel), Pivot(lambda_charge, to="payment"))
    test = begun(saga)
    sent = [test.expect_command(BookFlight), test.expect_command(BookHotel)]
    for number in order:
        sent[number].reply(Booked())
    test.expect_command(ChargeCard).refuse("declined")
    for number in reversed(order):
        test.expect_compensation(GiveBack(what=back[type(sent[number].message)])).reply()
        if number == order[1]:
            assert test.status == "compensating"
    assert test.status == "compensated"


def lambda_charge(book_flight: Booked, book_hotel: Booked) -> ChargeCard:
    return ChargeCard(references=[book_flight.reference, book_hotel.reference])


def test_what_the_others_are_doing_when_one_is_refused_is_in_doubt_and_undone_first() -> None:
    test = begun()
    test.expect_command(BookFlight).reply(Booked())
    in_flight = test.expect_command(BookHotel)
    test.expect_command(CheckPassport).refuse("out_of_date")
    assert test.instance.state("book.stay.book_hotel").progress == "in_doubt"
    test.expect_compensation(GiveBack(what="hotel of t1")).reply()
    in_flight.reply(Booked())  # too late: it changes nothing
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    test.expect_facts(TripOff)
    assert test.status == "compensated"


def test_a_refusal_of_one_is_no_answer_to_the_other() -> None:
    test = begun(pair)
    booked, refused = test.expect_command(BookFlight), test.expect_command(BookHotel)
    refused.refuse("full")
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    booked.reply(Booked())
    assert test.status == "compensated"


def test_each_has_its_own_retries_and_its_own_timer() -> None:
    policy = RetryPolicy(initial=timedelta(seconds=7), attempts=3)
    slow = Step(book_hotel, to="hotels", compensation=give_hotel_back, retry=policy, timeout=timedelta(minutes=5))
    test = begun(saga_of(Parallel(flight, slow)))
    booked, failing = test.expect_command(BookFlight), test.expect_command(BookHotel)
    failing.fail("ConnectionError")
    test.expect_nothing()
    test.advance(timedelta(seconds=8))
    again = test.expect_command(BookHotel)
    assert (again.attempt, booked.attempt) == (2, 1)
    test.advance(timedelta(seconds=25))
    assert test.expect_command(BookFlight).attempt == 2  # its 30 s were over, the hotel's minutes are not
    test.expect_nothing()


def test_two_timers_in_one_moment_turn_the_saga_once() -> None:
    once = RetryPolicy(attempts=1)
    one = Step(book_flight, to="flights", compensation=give_flight_back, retry=once)
    two = Step(book_hotel, to="hotels", compensation=give_hotel_back, retry=once)
    test = begun(saga_of(Parallel(one, two)))
    test.advance(timedelta(seconds=30))
    test.expect_command(BookFlight)
    test.expect_command(BookHotel)
    test.expect_compensation(GiveBack(what="hotel of t1")).reply()
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    assert test.status == "compensated"


def test_one_that_is_parked_holds_nobody_but_itself() -> None:
    def car_of_nobody(trip: BookTrip) -> BookCar:
        raise KeyError

    broken = Step(car_of_nobody, to="cars", compensation=give_car_back)
    saga = saga_of(Parallel(broken, Branch("stay", hotel, flight)))
    test = begun(saga)
    assert (test.status, list(test.instance.parked_at)) == ("parked", ["parallel.car_of_nobody"])
    test.expect_command(BookHotel).reply(Booked())
    test.expect_command(BookFlight).reply(Booked())  # the other branch goes on to its end
    assert test.instance.parked_at
    again = decide(saga.tree, test.instance, [RetryRequested("r", "parallel.car_of_nobody", 1)], 0.0)
    assert (again.sends, again.instance.status) == ((), "parked")
    test.cancel()
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    test.expect_compensation(GiveBack(what="hotel of t1")).reply()
    assert test.status == "compensated"


def test_an_answer_unparks_its_own_node_only() -> None:
    once = RetryPolicy(attempts=1, exhausted="park")
    one = Step(book_flight, to="flights", compensation=give_flight_back, retry=once)
    two = Step(book_hotel, to="hotels", compensation=give_hotel_back, retry=once)
    test = begun(saga_of(Parallel(one, two)))
    first, second = test.expect_command(BookFlight), test.expect_command(BookHotel)
    test.advance(timedelta(seconds=30))
    assert list(test.instance.parked_at) == ["parallel.book_flight", "parallel.book_hotel"]
    first.reply(Booked())
    assert (test.status, list(test.instance.parked_at)) == ("parked", ["parallel.book_hotel"])
    second.reply(Booked())
    assert test.status == "completed"


def test_early_facts_are_taken_back_in_the_order_of_what_stands() -> None:
    early = Publish(car_is_wanted, early=True, retraction=trip_is_off)
    saga = saga_of(Parallel(Branch("a", flight, early), hotel), compensated=())
    test = begun(saga)
    booked = test.expect_command(BookFlight), test.expect_command(BookHotel)
    booked[0].reply(Booked())
    test.expect_facts(CarWanted)
    booked[1].refuse("full")
    test.expect_facts(TripOff)  # it is newer than the flight
    test.expect_compensation(GiveBack(what="flight of t1")).reply()
    assert test.status == "compensated"


def trip_is_off(trip: BookTrip) -> TripOff:
    return TripOff(trip=trip.trip)


def test_rule_36_a_cancel_in_the_batch_comes_before_what_the_answers_would_send() -> None:
    saga = saga_of(flight, Pivot(charge_flight, to="payment"))
    first = begin(saga.tree, "s", BookTrip().to_json(), 0.0, cause="start")
    answer = Answered("r", CommandKey("s", "book_flight", 1, "do"), 1, "ok", Booked().to_json())
    decision = decide(saga.tree, first.instance, [CancelRequested("c"), answer], 1.0)
    assert [str(send.key) for send in decision.sends] == ["s:book_flight:1:undo"]


def charge_flight(book_flight: Booked) -> ChargeCard:
    return ChargeCard(references=[book_flight.reference])


def test_rule_36_what_is_unsent_of_one_costs_the_other_no_attempt() -> None:
    first = begin(pair.tree, "s", BookTrip().to_json(), 0.0, cause="start")
    fired = decide(pair.tree, first.instance, [TimerFired(frozenset({"parallel.book_hotel"}))], 30.0)
    attempts = {path: state.leg.attempt for path, state in fired.instance.nodes.items() if state.leg}
    assert attempts == {"parallel.book_flight": 2, "parallel.book_hotel": 1}


def test_rule_36_what_one_timer_gives_up_another_of_the_same_moment_does_not_try_again() -> None:
    once = Step(book_hotel, to="hotels", compensation=give_hotel_back, retry=RetryPolicy(attempts=1))
    saga = saga_of(Parallel(flight, once))
    first = begin(saga.tree, "s", BookTrip().to_json(), 0.0, cause="start")
    fired = decide(saga.tree, first.instance, [TimerFired()], 30.0)
    assert [str(send.key) for send in fired.sends] == ["s:parallel.book_hotel:1:undo"]
    assert [event.kind for event in fired.events if event.kind == "sent"] == ["sent"]
    assert fired.instance.state("parallel.book_flight").progress == "in_doubt"


# --- more of them than stand in a record ------------------------------------------------------------------------------


MANY = MOST_IN_RECORD + 20
wide = saga_of(
    Parallel(
        *(
            Branch(
                f"b{number}",
                Step(book_car, to="cars", compensation=give_car_back, name=f"first{number}"),
                Step(book_hotel, to="hotels", compensation=give_hotel_back, name=f"second{number}"),
            )
            for number in range(MANY)
        )
    )
)


def test_a_branch_that_lies_apart_is_over_and_is_found_again_on_the_way_back() -> None:
    run = Stored(wide, BookTrip())
    answered = 0
    while not run.instance.terminal and answered < 2 * MANY - 1:
        run.answer(run.sent[answered], Booked())
        answered += 1
    assert len(set(run.sent)) == 2 * MANY == len(run.sent)
    assert len(run.instance.nodes) < MANY + MOST_IN_RECORD
    last = CommandKey.parse(run.sent[-1])
    run.give(CancelRequested("c"))
    undone = []
    while not run.instance.terminal:
        undone.append(CommandKey.parse(run.sent[-1]).path)
        run.answer(run.sent[-1], Done())
    assert run.instance.status == "compensated"
    assert undone == [last.path, *(CommandKey.parse(key).path for key in reversed(run.sent[: 2 * MANY - 1]))]


def charge_nothing(trip: BookTrip) -> ChargeCard:
    return ChargeCard(references=[])


def test_what_stands_before_branches_that_lie_apart_is_undone_and_so_are_they() -> None:
    """What was refused behind them is older than all that stands, so nothing of it is left to see how far it came."""
    first = Step(check_passport, to="office", compensation=give_flight_back)
    saga = saga_of(first, *wide.steps, Pivot(charge_nothing, to="payment"))
    run = Stored(saga, BookTrip())
    while not run.sent[-1].startswith("s:charge_nothing"):
        run.answer(run.sent[run.count], Booked() if run.count else Done())
    count = len(run.sent) - 1
    run.refuse(run.sent[-1], "declined")
    while not run.instance.terminal:
        run.answer(run.sent[-1], Done())
    undone = [key.removesuffix("undo") for key in run.sent[count + 1 :]]
    assert undone == [key.removesuffix("do") for key in reversed(run.sent[:count])]


def test_a_pause_keeps_every_branch_where_it_is() -> None:
    run = Stored(wide, BookTrip())
    run.give(PauseRequested("p"))
    for key in list(run.sent):
        run.answer(key, Booked())
    assert len(run.sent) == MANY
    resumed = run.give(ResumeRequested("q"))
    assert len(resumed.sends) == MANY
    assert all(send.key.path.split(".")[2].startswith("second") for send in resumed.sends)


# --- how it is shown ---


def test_the_picture_shows_the_branches_side_by_side() -> None:
    picture = mermaid(trip_saga)
    assert '{"book"}' in picture
    assert picture.count("BookCar") == 1
    assert "stay" not in [line.strip() for line in picture.splitlines()]


def test_the_outline_names_the_nodes_in_it() -> None:
    told = outline(trip_saga)
    assert "  book (parallel):" in told
    assert "    book.stay (branch):" in told


def test_the_fingerprint_holds_the_branches_in_their_order() -> None:
    text = trip_saga.fingerprint.text
    assert "book: parallel\n  book_flight: book_flight\n  stay: stay\n  check_passport: check_passport\n" in text
    assert pair.fingerprint.hash != saga_of(Parallel(hotel, flight)).fingerprint.hash
    assert car.name == ""

"""Branches that may lose: enough of several, the first of several, and a part that is undone while the saga goes on."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Done, Failure
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import Answered, SettleRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import Branch, Check, ForEach, Parallel, Pivot, Publish, Retriable, Scope, Sleep, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing import SagaTest
from choros.wire.command_key import CommandKey
from tests.saga.trip import (
    BookCar,
    Booked,
    BookFlight,
    BookHotel,
    BookTrip,
    CarWanted,
    ChargeCard,
    CheckPassport,
    GiveBack,
    TripBooked,
    book_car,
    book_flight,
    car,
    car_is_wanted,
    check_passport,
    flight,
    give_car_back,
    give_flight_back,
    hotel,
    send_ticket,
    send_voucher,
    trip_booked,
    trip_off,
)

FLIGHT, HOTEL = GiveBack(what="flight of t1"), GiveBack(what="hotel of t1")


def saga_of(*steps: Any, **more: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps, **more)


def charge(book_flight: Booked | None, book_hotel: Booked | None, book_car: Booked | None) -> ChargeCard:
    booked = [one.reference for one in (book_flight, book_hotel, book_car) if one]
    return ChargeCard(references=booked)


race = saga_of(Parallel(flight, hotel, car, first=1, name="race"), Pivot(charge, to="payment"), compensated=trip_off)
quorum = saga_of(Parallel(flight, hotel, car, at_least=2, name="enough"), Pivot(charge, to="payment"))


def begun(saga: Saga[BookTrip]) -> SagaTest:
    test = SagaTest(saga)
    test.start(BookTrip())
    return test


def three(test: SagaTest) -> list[Any]:
    return [test.expect_command(command) for command in (BookFlight, BookHotel, BookCar)]


def test_the_first_wins_and_the_losers_are_undone_before_the_pivot_is_sent() -> None:
    test = begun(race)
    a, b, _ = three(test)
    b.reply(Booked(reference="h"))
    lost = [test.expect_compensation(GiveBack), test.expect_compensation(GiveBack)]
    assert [one.key.path for one in lost] == ["race.book_flight", "race.book_car"]  # at once, beside each other
    a.reply(Booked(reference="f"))  # too late
    lost[1].reply()
    test.expect_nothing()
    lost[0].reply()
    assert test.expect_command(ChargeCard).message.references == ["h"]


def test_of_two_answers_in_one_batch_the_one_that_was_applied_first_wins() -> None:
    first = begin(race.tree, "s", BookTrip().to_json(), 0.0, cause="start")
    answers = [
        Answered(f"r-{name}", CommandKey("s", f"race.{name}", 1, "do"), 1, "ok", Booked(reference=name).to_json())
        for name in ("book_car", "book_flight")
    ]
    decision = decide(race.tree, first.instance, answers, 1.0)
    assert not decision.instance.state("race.book_car").lost
    assert [send.key.path for send in decision.sends] == ["race.book_flight", "race.book_hotel"]
    assert Instance.loads(decision.instance.dumps()) == decision.instance


def test_a_race_goes_on_while_one_can_still_win_it() -> None:
    test = begun(race)
    a, b, c = three(test)
    a.refuse("full")
    b.refuse("full")
    assert test.status == "running"
    c.reply(Booked(reference="c"))
    assert test.expect_command(ChargeCard).message.references == ["c"]


def test_a_race_that_nobody_can_win_turns_the_saga() -> None:
    test = begun(race)
    for one in three(test):
        one.refuse("none_left" if isinstance(one.message, BookCar) else "full")
    assert test.status == "compensated"


def test_a_loser_that_is_being_undone_is_not_undone_again_when_the_saga_turns() -> None:
    test = begun(race)
    a, b, _ = three(test)
    a.reply(Booked())
    losers = test.expect_compensation(HOTEL), test.expect_compensation(GiveBack)
    test.cancel()
    test.expect_nothing()  # the losers are newer than the winner
    losers[1].reply()
    losers[0].reply()
    test.expect_compensation(FLIGHT).reply()
    assert test.status == "compensated"
    b.reply(Booked())
    assert test.status == "compensated"


@pytest.mark.parametrize("undone", [0, 1, 2])
def test_a_saga_that_turns_comes_to_an_end_however_far_losers_are_undone(undone: int) -> None:
    """A branch, or a check, has no undo of its own whose answer would say so."""
    losing = Branch("ground", car, hotel), Check(check_passport, to="office")
    test = begun(saga_of(Parallel(flight, *losing, first=1), Sleep(timedelta(days=1))))
    plane, auto, passport = (test.expect_command(one) for one in (BookFlight, BookCar, CheckPassport))
    auto.reply(Booked())
    test.expect_command(BookHotel)
    plane.reply(Booked())
    passport.reply()
    for _ in range(undone):
        test.expect_compensation(GiveBack).reply()
    test.cancel()
    for _ in range(3 - undone):
        test.expect_compensation(GiveBack).reply()
    assert test.status == "compensated"


def test_the_undo_of_a_loser_that_parks_parks_that_loser_only() -> None:
    once = RetryPolicy(attempts=1)
    slow = Step(book_car, to="cars", compensation=give_car_back, undo_retry=once)
    test = begun(saga_of(Parallel(flight, slow, first=1), hotel))
    a, b = test.expect_command(BookFlight), test.expect_command(BookCar)
    a.reply(Booked())
    test.expect_command(BookHotel).reply(Booked())  # the saga goes on beside the undo
    undo = test.expect_compensation(GiveBack)
    undo.fail("ConnectionError")
    assert list(test.instance.parked_at) == ["parallel.book_car"]
    undo.reply()  # after all
    assert (test.status, b.key.path) == ("completed", "parallel.book_car")


def test_an_undo_of_a_loser_that_is_parked_stays_parked_when_the_saga_turns() -> None:
    once = RetryPolicy(attempts=1)
    slow = Step(book_car, to="cars", compensation=give_car_back, undo_retry=once)
    test = begun(saga_of(Parallel(flight, slow, first=1), hotel))
    plane, _ = test.expect_command(BookFlight), test.expect_command(BookCar)
    plane.reply(Booked())
    test.expect_command(BookHotel)
    undo = test.expect_compensation(GiveBack(what="car ?"))
    undo.fail("ConnectionError")
    test.cancel()
    assert (test.status, list(test.instance.parked_at)) == ("parked", ["parallel.book_car"])
    test.expect_compensation(HOTEL).reply()
    test.expect_nothing()  # the loser is newer than the winner
    undo.reply()
    test.expect_compensation(FLIGHT).reply()
    assert test.status == "compensated"


def test_a_race_is_decided_although_what_follows_cannot_be_built() -> None:
    def broken(trip: BookTrip) -> BookHotel:
        raise KeyError

    bad = Step(broken, to="hotels", compensation=give_car_back)
    test = begun(saga_of(Parallel(flight, car, first=1), bad))
    plane, _ = test.expect_command(BookFlight), test.expect_command(BookCar)
    plane.reply(Booked())
    assert list(test.instance.parked_at) == ["broken"]
    test.expect_compensation(GiveBack(what="car ?")).reply()  # nobody forgets the loser
    assert test.status == "parked"


def test_a_saga_is_not_over_before_its_losers_are_undone() -> None:
    test = begun(saga_of(Parallel(flight, hotel, first=1), completed=trip_booked))
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookHotel)
    test.expect_facts()
    test.expect_compensation(HOTEL).reply()
    test.expect_facts(TripBooked)
    assert test.status == "completed"


def test_a_loser_of_several_steps_is_undone_the_newest_first_and_what_it_held_is_dropped() -> None:
    stay = Branch("stay", hotel, Publish(car_is_wanted), car)
    test = begun(saga_of(Parallel(flight, stay, first=1)))
    plane = test.expect_command(BookFlight)
    test.expect_command(BookHotel).reply(Booked())
    test.expect_command(BookCar).reply(Booked())
    assert test.instance.state("parallel.stay").progress == "ok"
    undo = test.expect_compensation(FLIGHT)
    plane.reply(Booked())
    undo.reply()
    test.expect_facts(CarWanted)
    assert test.status == "completed"
    test = begun(saga_of(Parallel(flight, stay, first=1)))
    plane = test.expect_command(BookFlight)
    test.expect_command(BookHotel).reply(Booked())
    test.expect_command(BookCar)
    plane.reply(Booked())
    test.expect_compensation(GiveBack(what="car ?")).reply()
    test.expect_compensation(HOTEL).reply()
    test.expect_facts()
    assert test.status == "completed"


def test_early_facts_of_a_loser_are_taken_back() -> None:
    early = Publish(car_is_wanted, early=True, retraction=trip_off)
    test = begun(saga_of(Parallel(flight, Branch("b", hotel, early, car), first=1)))
    plane = test.expect_command(BookFlight)
    test.expect_command(BookHotel).reply(Booked())
    assert len(test.expect_facts(CarWanted)) == 1
    plane.reply(Booked())
    test.expect_command(BookCar)
    test.expect_compensation(GiveBack).reply()
    test.expect_facts(type(trip_off(BookTrip())))
    test.expect_compensation(HOTEL).reply()
    assert test.status == "completed"


def test_a_check_and_a_sleep_that_lose_have_nothing_to_undo() -> None:
    nap = Branch("nap", hotel, Sleep(timedelta(days=1)))
    test = begun(saga_of(Parallel(flight, Check(check_passport, to="office"), nap, first=1)))
    plane = test.expect_command(BookFlight)
    test.expect_command(CheckPassport)
    test.expect_command(BookHotel).reply(Booked())
    plane.reply(Booked())
    test.expect_compensation(HOTEL).reply()
    assert test.status == "completed"
    assert test.instance.wake_at is None


def test_enough_go_on_when_all_have_ended_and_the_one_that_failed_is_undone_by_itself() -> None:
    test = begun(quorum)
    a, b, c = three(test)
    a.reply(Booked(reference="f"))
    b.refuse("full")
    test.expect_nothing()
    c.reply(Booked(reference="c"))
    assert test.expect_command(ChargeCard).message.references == ["f", "c"]


def test_all_of_enough_may_succeed() -> None:
    test = begun(quorum)
    for one in three(test):
        one.reply(Booked())
    assert test.expect_command(ChargeCard).message.references == ["r", "r", "r"]


def test_one_in_doubt_is_undone_by_itself_if_enough_are_left() -> None:
    once = RetryPolicy(attempts=1)
    shaky = Step(book_car, to="cars", compensation=give_car_back, retry=once)
    test = begun(saga_of(Parallel(flight, shaky, hotel, at_least=2)))
    a, _, h = (test.expect_command(command) for command in (BookFlight, BookCar, BookHotel))
    test.advance(timedelta(seconds=29))
    a.reply(Booked())
    h.reply(Booked())
    test.advance(timedelta(seconds=1))
    test.expect_compensation(GiveBack(what="car ?")).reply()
    assert test.status == "completed"


def test_a_branch_that_has_lost_does_not_keep_a_saga_that_is_undone_from_its_end() -> None:
    test = begun(saga_of(Parallel(Branch("one", flight, car), hotel, first=1)))
    a, b = test.expect_command(BookFlight), test.expect_command(BookHotel)
    a.refuse("full")
    assert test.instance.state("parallel.one").lost
    b.refuse("full")
    assert test.status == "compensated"
    again = begun(saga_of(Parallel(Branch("one", flight, car), hotel, first=1), Sleep(timedelta(days=1))))
    again.expect_command(BookFlight).reply(Booked())
    again.expect_command(BookCar)
    again.expect_command(BookHotel).reply(Booked())
    car_back = again.expect_compensation(GiveBack)
    again.cancel()
    car_back.reply()
    for _ in range(2):
        again.expect_compensation(GiveBack).reply()
    assert again.status == "compensated"


def test_fewer_than_enough_turn_the_saga() -> None:
    test = begun(quorum)
    a, b, c = three(test)
    a.reply(Booked())
    b.refuse("full")
    c.refuse("none_left")
    test.expect_compensation(FLIGHT).reply()
    assert (test.status, test.instance.state("enough.book_hotel").progress) == ("compensated", "refused")


def test_branches_that_do_not_depend_on_each_other_may_be_undone_side_by_side() -> None:
    both = Parallel(flight, Branch("stay", hotel, car), undo="side_by_side")
    test = begun(saga_of(both, Step(check_it, to="office", compensation=give_car_back)))
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookHotel).reply(Booked())
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(CheckPassport).refuse("out_of_date")
    undos = test.expect_compensation(FLIGHT), test.expect_compensation(GiveBack(what="car r"))
    undos[0].reply()
    undos[1].reply()
    test.expect_compensation(HOTEL).reply()
    assert test.status == "compensated"


def check_it(trip: BookTrip) -> CheckPassport:
    return CheckPassport(trip=trip.trip)


def twice(trip: BookTrip) -> list[str]:
    return ["there", "back"]


def test_loops_that_are_undone_side_by_side_pass_over_nothing_of_each_other() -> None:
    loops = [ForEach(twice, one, name=name) for name, one in (("flights", flight), ("hotels", hotel))]
    test = begun(saga_of(Parallel(*loops, undo="side_by_side"), car))
    for command in (BookFlight, BookHotel, BookFlight, BookHotel):
        test.expect_command(command).reply(Booked())
    test.expect_command(BookCar).refuse("none_left")
    undone = []
    while test.status == "compensating":
        undo = test.expect_compensation(GiveBack)
        undone.append(undo.key.path)
        undo.reply()
    both = [[f"parallel.{what}s[{trip}].book_{what}" for trip in (1, 0)] for what in ("flight", "hotel")]
    assert [[path for path in undone if path in one] for one in both] == both
    assert len(undone) == 4


def test_an_undo_that_cannot_be_built_holds_its_own_branch_only() -> None:
    def broken(trip: BookTrip) -> GiveBack:
        raise KeyError

    bad = Step(book_car, to="cars", compensation=broken)
    test = begun(saga_of(Parallel(flight, bad, first=1)))
    test.expect_command(BookFlight).reply(Booked())
    assert test.instance.why_parked == "broken raised KeyError"
    both = begun(saga_of(Parallel(flight, bad, undo="side_by_side")))
    both.expect_command(BookFlight).reply(Booked())
    both.expect_command(BookCar)
    both.cancel()
    assert list(both.instance.parked_at) == ["parallel.book_car"]
    both.expect_compensation(FLIGHT).reply()
    assert both.status == "parked"


# --- a scope ---


def other(trip: BookTrip, book_car: Booked | None) -> BookHotel:
    return BookHotel(trip=f"{trip.trip} after {book_car.reference if book_car else 'nothing'}")


def give_other_back(trip: BookTrip) -> GiveBack:
    return GiveBack(what="other")


scope = saga_of(
    flight,
    Scope(car, Check(check_passport, to="office"), otherwise=Step(other, to="hotels", compensation=give_other_back)),
    Pivot(send_ticket, to="mail"),
)


def test_a_scope_that_succeeds_is_like_its_steps() -> None:
    test = begun(scope)
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(CheckPassport).reply()
    test.expect_command(type(send_ticket(BookTrip()))).reply()
    assert (test.status, test.instance.state("scope").choice) == ("completed", "tried")


def test_a_scope_that_fails_is_undone_and_the_saga_goes_on_the_other_way() -> None:
    test = begun(scope)
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookCar).reply(Booked(reference="c"))
    test.expect_command(CheckPassport).refuse("out_of_date")
    test.expect_compensation(GiveBack(what="car c")).reply()
    assert test.expect_command(BookHotel).message.trip == "t1 after c"
    test.cancel()
    test.expect_compensation(GiveBack(what="other")).reply()
    test.expect_compensation(FLIGHT).reply()  # and not the car again
    assert test.status == "compensated"


def test_a_failure_on_the_other_way_turns_the_saga() -> None:
    test = begun(scope)
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookCar).refuse("none_left")
    test.expect_command(BookHotel).refuse("full")
    test.expect_compensation(FLIGHT).reply()
    assert test.status == "compensated"


def test_a_cancel_while_a_scope_is_undone_undoes_the_rest_too() -> None:
    test = begun(scope)
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(CheckPassport).refuse("out_of_date")
    undo = test.expect_compensation(GiveBack(what="car r"))
    test.cancel()
    test.expect_nothing()
    undo.reply()
    test.expect_compensation(FLIGHT).reply()
    assert test.status == "compensated"


def test_a_scope_without_another_way_goes_on_behind_it() -> None:
    test = begun(saga_of(Scope(car, name="maybe"), flight))
    test.expect_command(BookCar).refuse("none_left")
    test.expect_command(BookFlight).reply(Booked())
    assert test.status == "completed"


def test_the_innermost_scope_catches() -> None:
    test = begun(saga_of(Scope(Scope(car, name="inner", otherwise=flight), hotel, name="outer")))
    test.expect_command(BookCar).refuse("none_left")
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookHotel).refuse("full")
    test.expect_compensation(FLIGHT).reply()
    assert test.status == "completed"


def three_cars(trip: BookTrip) -> list[int]:
    return [0, 1, 2]


def book_numbered(trip: BookTrip, number: int) -> BookCar:
    return BookCar(trip=f"{trip.trip}-{number}")


def test_items_in_a_scope_are_undone_the_newest_first_while_another_branch_goes_on() -> None:
    each = ForEach(three_cars, Step(book_numbered, to="cars", compensation=give_flight_back), at_once=3)
    test = begun(saga_of(Parallel(Scope(each, otherwise=flight), Branch("stay", hotel, Sleep(timedelta(days=1)), car))))
    cars = [test.expect_command(BookCar) for _ in range(3)]
    stay = test.expect_command(BookHotel)
    cars[2].reply(Booked())
    cars[0].reply(Booked())
    stay.reply(Booked())
    cars[1].refuse("none_left")
    undone = [test.expect_compensation(FLIGHT)]
    undone[0].reply()
    undone.append(test.expect_compensation(FLIGHT))
    undone[1].reply()
    assert [one.key.path for one in undone] == [f"parallel.scope.three_cars[{n}].book_numbered" for n in (0, 2)]
    test.expect_command(BookFlight).reply(Booked())
    test.advance(timedelta(days=1))
    test.expect_command(BookCar).refuse("none_left")
    for what in (FLIGHT, HOTEL):
        test.expect_compensation(what).reply()
    assert test.status == "compensated"


def test_a_cancel_is_no_failure_of_the_scope() -> None:
    test = begun(saga_of(flight, Scope(car, otherwise=hotel)))
    test.expect_command(BookFlight).reply(Booked())
    test.expect_command(BookCar)
    test.cancel()
    test.expect_compensation(GiveBack).reply()
    test.expect_compensation(FLIGHT).reply()
    assert test.status == "compensated"


def test_where_a_saga_stands_in_a_scope() -> None:
    test = begun(scope)
    assert scope.at_work(test.instance) == "book_flight"
    test.expect_command(BookFlight).reply(Booked())
    assert scope.at_work(test.instance) == "scope.book_car"
    test.expect_command(BookCar).reply(Booked())
    test.expect_command(CheckPassport).refuse("out_of_date")
    assert scope.at_work(test.instance) == "scope.book_car"
    test.expect_compensation(GiveBack).reply()
    assert scope.at_work(test.instance) == "scope.other"


# --- what may not be said ---


MISTAKES: Sequence[tuple[Any, str]] = [
    (lambda: saga_of(Parallel(car, hotel, at_least=1, first=1)), "parallel has at_least and first"),
    (lambda: saga_of(Parallel(car, hotel, first=2)), "parallel has first=2 and 2 branches. Try: give a number"),
    (lambda: saga_of(Parallel(car, hotel, at_least=0)), "parallel has at_least=0 and 2 branches"),
    (lambda: saga_of(Parallel(car, hotel, first=1.5)), "parallel has first=1.5"),  # type: ignore[arg-type]  # a mistake
    (lambda: saga_of(Parallel(car, hotel, undo="never")), "undo='never', which means nothing"),  # type: ignore[arg-type]  # the same
    (
        lambda: saga_of(
            Pivot(book_flight, to="flights"),
            Parallel(Retriable(send_ticket, to="mail"), Retriable(send_voucher, to="mail"), first=1),
        ),
        "parallel may leave some of its branches undone, but stands after the pivot",
    ),
    (lambda: saga_of(Parallel(car, hotel, first=1), Pivot(sure, to="payment")), "sure needs Booked, which may not"),
    (lambda: saga_of(Scope()), "there is nothing in scope to try"),
    (lambda: saga_of(Scope(car, otherwise=Pivot(book_flight, to="flights"))), "there is a pivot in scope"),
    (lambda: saga_of(Scope(car, otherwise=car)), "two steps are called scope.book_car"),
    (lambda: saga_of(Scope(car, otherwise="x")), "is no sequence"),  # type: ignore[arg-type]  # a mistake
    (lambda: saga_of(Scope(book_car)), "book_car is no step"),  # type: ignore[arg-type]  # a mistake
    (
        lambda: saga_of(Pivot(book_flight, to="flights"), Scope(Retriable(send_ticket, to="mail"))),
        "scope may be undone, but stands after the pivot",
    ),
    (lambda: saga_of(Scope(car), Pivot(sure, to="payment")), "sure needs Booked, which may not be known by then"),
]


@pytest.mark.parametrize(("declare", "sentence"), MISTAKES)
def test_a_mistake_is_a_sentence(declare: Callable[[], object], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        declare()


def sure(book_car: Booked) -> ChargeCard:
    return ChargeCard(references=[book_car.reference])


# --- how it is shown ---


def test_pictures_and_texts() -> None:
    assert "  race (parallel, first 1):" in outline(race)
    assert "race: parallel\n  first 1\n  book_flight: book_flight\n" in race.fingerprint.text
    assert "enough: parallel\n  at least 2\n" in quorum.fingerprint.text
    assert '-->|"tried: BookCar"|' in mermaid(scope)
    assert "    otherwise: other" in outline(scope)
    assert "scope: scope\n  tried: book_car, check_passport\n  otherwise: other\n" in scope.fingerprint.text
    assert repr(Scope(car)) == "Scope(name='scope')"


BRANCHES = Branch("fly", flight), Branch("sleep", hotel), Branch("drive", car)
"""Each with a state of its own beside those of its steps."""


def test_a_saga_that_turns_while_a_loser_is_undone_ends_when_that_is() -> None:
    test = begun(saga_of(Parallel(*BRANCHES, first=1, name="race"), Pivot(charge, to="payment")))
    three(test)[1].reply(Booked(reference="h"))
    lost = [test.expect_compensation(GiveBack) for _ in range(2)]
    test.cancel()
    for one in lost:
        one.reply()
    test.expect_compensation(HOTEL).reply()
    assert test.status == "compensated"


def test_branches_that_fail_in_the_batch_that_turns_the_saga_do_not_keep_it_from_its_end() -> None:
    saga = saga_of(Parallel(*BRANCHES, at_least=2, name="enough"), Pivot(charge, to="payment"))
    decision = begin(saga.tree, "s", BookTrip().to_json(), 0.0, cause="start")
    failure = Failure(code="full").to_json()
    refusals = [
        Answered(f"reply-{number}", send.key, 1, "refused", failure, "full")
        for number, send in enumerate(decision.sends[:2])
    ]
    decision = decide(saga.tree, decision.instance, refusals, 1.0)
    (undo,) = decision.sends
    done = decide(saga.tree, decision.instance, [Answered("undone", undo.key, 1, "ok", Done().to_json())], 2.0)
    assert done.instance.status == "compensated"


# --- ended as it is while losers are being undone ---------------------------------------------------------------------


def test_what_was_in_doubt_when_its_undo_was_closed_is_left_standing_once_it_is_known_to_stand() -> None:
    test = begun(race)
    _, b, _ = three(test)
    b.reply(Booked(reference="h"))
    test.terminate()
    test.expect_close().reply()
    test.expect_close().reply()
    lost = SettleRequested("settle", "race.book_car", 1, stands=True, reply=Booked(reference="c").to_json())
    assert (test.status, test.instance.state("race.book_car").progress) == ("terminated", "in_doubt")
    assert decide(race.tree, test.instance, [lost], 0.0).instance.standing == ["race.book_car"]

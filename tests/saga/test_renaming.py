"""Nodes that are called otherwise in another version: their paths, what the state of an instance says of them, and what
declarations say."""

import re
from typing import Any

import pytest

from choros.messages import Failure
from choros.saga.difference import renamed, why_not_moved, why_not_named, why_taken
from choros.saga.machine.instance import Instance, NodeState, States
from choros.saga.nodes import Branch, Check, ForEach, Parallel, Pivot, Publish, Repeat, Scope, Step, When
from choros.saga.renaming import SAME, Renaming, renaming, with_names
from choros.saga.saga import Saga
from tests.saga.trip import (
    Booked,
    BookTrip,
    CarWanted,
    ChargeCard,
    book_car,
    book_flight,
    book_hotel,
    check_passport,
    give_car_back,
    give_flight_back,
    give_hotel_back,
    trip_off,
)

NAMES = Renaming((("lines", "rows"), ("lines[].pick", "rows[].take"), ("lines[].pick[].one", "rows[].take[].each")))
PATHS = {
    "": "",
    "lines": "rows",
    "lines[3]": "rows[3]",
    "lines[3].wrap": "rows[3].wrap",
    "lines[].pick": "rows[].take",
    "lines[-1].pick[12].one": "rows[-1].take[12].each",
    "pick": "pick",
    "other.lines": "other.lines",
}


@pytest.mark.parametrize("there", PATHS)
def test_a_path_is_renamed_name_by_name_and_back(there: str) -> None:
    assert (NAMES.here(there), NAMES.there(PATHS[there]), SAME.here(there)) == (PATHS[there], there, there)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ([("a", "b")], [("b", "c")], [("a", "c")]),
        ([("a", "b")], [("b", "a")], []),
        ([("a", "b")], [("x", "y")], [("a", "b"), ("x", "y")]),
        ([("p.a", "p.b")], [("p", "q")], [("p.a", "q.b"), ("p", "q")]),
        ([("p", "q")], [("q.a", "q.b")], [("p", "q"), ("p.a", "q.b")]),
    ],
)
def test_one_renaming_follows_another(first: Any, second: Any, both: Any) -> None:
    assert list(Renaming(tuple(first)).followed_by(Renaming(tuple(second))).pairs) == both


def wants_car(trip: BookTrip) -> bool:
    return trip.car


def needs_car(trip: BookTrip) -> bool:
    return trip.car


def nights(trip: BookTrip) -> list[int]:
    return [1, 2]


def car_is_wanted(trip: BookTrip) -> CarWanted:
    return CarWanted(trip=trip.trip)


def saga_of(*steps: Any, **more: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps, **more)


def car(name: str = "book_car") -> Step:
    return Step(book_car, to="cars", compensation=returned(name), name=name)


def returned(step: str) -> Any:
    """Its undo, which asks for the reply of the step that is called so."""
    if step == "book_car":
        return give_car_back

    def give_vehicle_back(trip: BookTrip, vehicle: Booked | None) -> Any: ...

    give_vehicle_back.__annotations__["return"] = give_car_back.__annotations__["return"]
    return give_vehicle_back


def choice(asked: Any, name: str) -> Saga[BookTrip]:
    return saga_of(When(asked, then=[car(name)]))


def test_a_choice_that_is_named_after_its_question_goes_on_the_same_way() -> None:
    there, here = choice(wants_car, "book_car"), choice(needs_car, "vehicle")
    names = renamed(here.fingerprint.text, there.fingerprint.text)
    assert names == {"wants_car": "needs_car", "wants_car.book_car": "needs_car.vehicle"}
    nodes = States({"wants_car": NodeState("entered", choice="wants_car"), "wants_car.book_car": NodeState("ok")})
    after = with_names(Instance("s", "{}", nodes), Renaming(tuple(names.items())), here.outline)
    assert after.nodes == {"needs_car": NodeState("entered", choice="needs_car"), "needs_car.vehicle": NodeState("ok")}
    assert list(after.nodes) == ["needs_car", "needs_car.vehicle"]
    assert why_not_moved(after, here.fingerprint.text, there.fingerprint.text, renaming(after)) == ""


@pytest.mark.parametrize("choice_made", ["otherwise", "wants_car", "cars"])
def test_a_choice_stays_where_its_way_has_another_name_or_no_choice_is_renamed(choice_made: str) -> None:
    here = saga_of(When(wants_car, then=[car()], name="cars"))
    nodes = States({"vehicles": NodeState("entered", choice=choice_made), "cars_": NodeState("ok", choice="cars_")})
    names = Renaming((("vehicles", "cars"), ("cars_", "vehicle")))
    after = with_names(Instance("s", "{}", nodes), names, here.outline)
    assert after.nodes == {"cars": nodes["vehicles"], "vehicle": nodes["cars_"]}


def test_what_an_instance_keeps_by_path_is_renamed_with_it() -> None:
    here = saga_of(car())
    failure = Failure(code="none_left", step="vehicle", kind="refused", detail="so")
    before = Instance(
        "s", "{}", States({"vehicle": NodeState("ok")}), failure=failure.to_json(), early=(("vehicle", "x"),),
        rerun_from="vehicle", renamed=(("van", "vehicle"),),
    )  # fmt: skip
    after = with_names(before, Renaming((("vehicle", "book_car"),)), here.outline)
    assert Failure.from_json(after.failure) == failure.model_copy(update={"step": "book_car"})
    assert (after.early, after.rerun_from) == ((("book_car", "x"),), "book_car")
    assert after.renamed == (("van", "book_car"),)
    assert with_names(Instance("s", "{}"), SAME, here.outline) == Instance("s", "{}")


def passport(name: str) -> Check:
    return Check(check_passport, to="police", name=name)


def flight(name: str) -> Step:
    return Step(book_flight, to="flights", compensation=give_flight_back, name=name)


def hotel(name: str) -> Step:
    return Step(book_hotel, to="hotels", compensation=give_hotel_back, name=name)


def enough(trip: BookTrip) -> bool:
    return True


def everywhere(s: str) -> Saga[BookTrip]:
    """Every kind of composite, with each of its nodes called so."""
    return saga_of(
        Parallel(Branch(f"way{s}", flight(f"air{s}"), passport(f"pass{s}")), hotel(f"bed{s}"), name=f"both{s}"),
        ForEach(
            nights, [hotel(f"night{s}"), When(wants_car, then=passport(f"seen{s}"), name=f"is{s}")], name=f"all{s}"
        ),
        Repeat(passport(f"again{s}"), until=enough, at_most=3, name=f"until_it{s}"),
        Scope(flight(f"try{s}"), otherwise=hotel(f"else{s}"), name=f"part{s}"),
        Publish(car_is_wanted, name=f"told{s}"),
        compensated=trip_off,
    )  # fmt: skip


def test_what_differs_in_names_only_is_found_in_every_kind_of_node() -> None:
    there, here = everywhere(""), everywhere("_2")
    names = renamed(here.fingerprint.text, there.fingerprint.text)
    assert list(names) == list(there.outline.nodes) and list(names.values()) == list(here.outline.nodes)
    assert why_not_named(Renaming(tuple(names.items())), here.fingerprint.text, there.fingerprint.text) == ""
    begun = Instance("s", "{}", States({path: NodeState("ok") for path in there.outline.nodes}))

    def why_not(*but: str) -> str:
        some = Renaming(tuple(pair for pair in names.items() if pair[0] not in but))
        after = with_names(begun, some, here.outline)
        return why_not_moved(after, here.fingerprint.text, there.fingerprint.text, some)

    assert why_not() == "" and all(map(why_not, names))  # one that is left out is missed


def asks(text: str, node: str) -> str:
    """The declaration with what else may be asked of a node."""
    return text.replace("when compensated: trip-off(book-trip)", f"when compensated: trip-off({node}: x)")


@pytest.mark.parametrize("asked", ["all[].night", "all[-1].night refused", "all[].night sent", "all[]"])
def test_what_is_asked_for_is_found_under_its_new_name(asked: str) -> None:
    text = everywhere("").fingerprint.text
    there, here = asks(text, asked), asks(re.sub(r"\ball\b", "each", text), asked.replace("all", "each"))
    assert renamed(here, there) == {"all": "each"}
    assert renamed(here, asks(text, "both.bed")) == {}


SAID = {
    "it has no 'hotel' to be called otherwise. Did you mean 'book_hotel'?": [("hotel", "room")],
    "book_hotel cannot be called 'rooms', which is not in the other version. Did you mean 'room'?": [
        ("book_hotel", "rooms")
    ],
    "book_hotel would be called room, as what is around it is, and not both.room": [("book_hotel", "both.room")],
}


@pytest.mark.parametrize("sentence", SAID)
def test_what_cannot_be_renamed_is_a_sentence(sentence: str) -> None:
    there, here = saga_of(hotel("book_hotel")), saga_of(hotel("room"))
    assert why_not_named(Renaming(tuple(SAID[sentence])), here.fingerprint.text, there.fingerprint.text) == sentence


def test_a_name_of_before_must_not_be_that_of_another_step() -> None:
    here = saga_of(hotel("room"), flight("book_hotel")).fingerprint.text
    names = Renaming((("book_hotel", "room"),))
    assert why_taken(names, here) == "another step is called book_hotel, and would have the keys of room"
    assert why_taken(names, saga_of(hotel("room")).fingerprint.text) == why_taken(SAME, here) == ""


def test_what_is_left_is_what_a_pivot_asks_for() -> None:
    def pay(bed: Booked) -> ChargeCard:
        return ChargeCard(references=[bed.reference])

    def pay_room(room: Booked) -> ChargeCard:
        return ChargeCard(references=[room.reference])

    there = saga_of(hotel("bed"), Pivot(pay, to="payment", name="pay")).fingerprint.text
    here = saga_of(hotel("room"), Pivot(pay_room, to="payment", name="pay")).fingerprint.text
    assert renamed(here, there) == {"bed": "room"}

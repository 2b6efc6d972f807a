"""The pin file: every part of it, read and written, compared, and what its digests go by."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
from pydantic import Field

from choros.errors import UsageError
from choros.messages import Command, Done, Message
from choros.saga.nodes import Pivot
from choros.saga.pin import Pin, changes, dumps, loads, pins_of
from choros.saga.saga import Saga

from .shop import order_saga, parcel_saga


class Trip(Message):
    who: str
    nights: int = 1


class Book(Command[Done]):
    who: str


def book(trip: Trip) -> Book:
    return Book(who=trip.who)


def saga_of(*, key: Callable[[Any], str] | None = None, start: type[Message] = Trip, version: int = 1) -> Saga[Any]:
    def book_it(trip: Any) -> Book:
        return book(trip)

    book_it.__annotations__["trip"] = start
    return Saga("trip", version=version, start=start, steps=(Pivot(book_it, to="hotel"),), key=key)


def pin_of(**more: Any) -> Pin:
    return pins_of([saga_of(**more)])["trip", more.get("version", 1)]


def test_a_pin_file_reads_as_it_was_written() -> None:
    pins = pins_of([parcel_saga, order_saga])
    text = dumps(pins)
    assert loads(text) == pins
    assert list(changes(pins, loads(text))) == []
    first, *blocks = text.split("\n\n")
    assert first.startswith("# What the sagas are made of")
    assert [block.splitlines()[0] for block in blocks] == [
        "saga order, version 1, rules 1",
        "saga parcel, version 1, rules 1",
    ]
    assert all(block.splitlines()[-2].startswith("pinned key ") for block in blocks)
    assert all(block.splitlines()[-1].startswith("pinned start model ") for block in blocks)
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert loads("") == {}


@pytest.mark.parametrize(
    "text", ["hello", "saga x\n", "saga a, version one, rules 1\npinned key k\npinned start model m\n"]
)
def test_what_is_no_pin_file_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UsageError, match="This is no pin file") as raised:
        loads(text)
    assert raised.value.hint == "choros check APP --pin writes one."


def test_each_difference_is_a_sentence() -> None:
    here = {("trip", 1): Pin("a", "k", "m"), ("walk", 1): Pin("b", "k", "m")}
    assert list(changes(here, here)) == []
    pinned = {("ride", 1): Pin("c", "k", "m"), ("ride", 2): Pin("c", "k", "m"), ("trip", 1): Pin("z", "l", "n")}
    assert list(changes(here, pinned)) == [
        "saga 'trip' version 1: its text is another. Instances under way would stand; give it a new version.",
        "saga 'trip' version 1: its key is another function than the pinned one: the same start may begin twice.",
        "saga 'trip' version 1: its start message has other fields than the pinned one: the same start may count as"
        " another.",
        "saga 'walk' version 1 is not pinned yet.",
        "saga 'ride' version 1 is pinned, and not part of this application: its instances would stand.",
        "saga 'ride' version 2 is pinned, and not part of this application: its instances would stand.",
    ]


def test_another_step_is_named() -> None:
    here, there = pins_of([saga_of()]), pins_of([saga_of()])
    pin = there["trip", 1]
    renamed = {("trip", 1): Pin(pin.text.replace("book_it", "reserve_it"), pin.key, pin.model)}
    (sentence,) = changes(here, renamed)
    assert sentence == (
        "saga 'trip' version 1: 1 step here, 1 in the pin file: reserve_it is not in this declaration, book_it is not"
        " in the pin file. Instances under way would stand; give it a new version."
    )


# --- the start message ------------------------------------------------------------------------------------------------


class Longer(Message, name="trip"):
    who: str
    nights: int = 2


class Titled(Message, name="trip"):
    """Says more of itself."""

    who: str = Field(title="The traveller", description="by name", examples=["ada"])
    nights: int = 1


class Named(Message, name="trip"):
    who: str
    title: str = "a field may be called like this"


class NamedOtherwise(Message, name="trip"):
    who: str
    description: str = "a field may be called like this"


def test_a_model_is_pinned_by_its_fields_and_not_by_what_it_says_of_them() -> None:
    assert len(pin_of().model) == len(pin_of(key=by_name).key) == 16
    assert pin_of().model != pin_of(start=Longer).model
    assert pin_of(start=Named).model != pin_of(start=NamedOtherwise).model
    assert pin_of(start=Titled).model == pin_of(start=Trip).model


# --- the key ----------------------------------------------------------------------------------------------------------


def by_name(trip: Trip) -> str:
    return trip.who


def by_name_and_length(trip: Trip) -> str:
    return f"{trip.who} {trip.nights}"


TWO = (lambda trip: trip.who, lambda trip: trip.who + "!")


class Keyed:
    """Has no source, and no words of its own."""

    def __call__(self, trip: Trip) -> str:
        return trip.who


def test_a_key_is_pinned_by_its_source() -> None:
    assert pin_of().key == "none"
    assert pin_of(key=by_name).key == pin_of(key=by_name).key != pin_of(key=by_name_and_length).key
    assert pin_of(key=TWO[0]).key != pin_of(key=TWO[1]).key
    assert pin_of(key=TWO[0]).key == pin_of(key=lambda trip: trip.who).key
    spread = pin_of(
        key=lambda trip: (
            trip.who  # however it is formatted
        )
    )
    assert spread.key == pin_of(key=TWO[0]).key
    assert pin_of(key=Keyed()).key == pin_of(key=Keyed()).key != pin_of(key=attrgetter("who")).key

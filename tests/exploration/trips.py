"""Sagas to explore: one of two steps, one of five."""

from datetime import timedelta
from typing import Any

from choros import App, Command, Done, Existing, Fact, Message, Pivot, Saga, Service, Sleep, Step


class BookTrip(Message):
    trip: str


class BookRoom(Command[Done], refusals=("full",)):
    trip: str


class CancelRoom(Command[Done]):
    trip: str


class BuyTicket(Command[Done], refusals=("sold_out",)):
    trip: str


class TripBooked(Fact):
    trip: str


class TripOff(Fact):
    trip: str


def book_room(trip: BookTrip) -> BookRoom:
    return BookRoom(trip=trip.trip)


def cancel_room(trip: BookTrip) -> CancelRoom:
    return CancelRoom(trip=trip.trip)


def buy_ticket(trip: BookTrip) -> BuyTicket:
    return BuyTicket(trip=trip.trip)


def trip_booked(trip: BookTrip) -> TripBooked:
    return TripBooked(trip=trip.trip)


def trip_off(trip: BookTrip) -> TripOff:
    return TripOff(trip=trip.trip)


trip_saga = Saga(
    "trip",
    start=BookTrip,
    key=lambda trip: trip.trip,
    steps=(Step(book_room, to="hotel", compensation=cancel_room), Pivot(buy_ticket, to="railway")),
    completed=trip_booked,
    compensated=trip_off,
)
sleeping_saga = Saga(
    "sleeping",
    start=BookTrip,
    steps=(
        Step(book_room, to="hotel", compensation=cancel_room),
        Sleep(timedelta(days=30), name="think_it_over"),
        Pivot(buy_ticket, to="railway"),
        Sleep(timedelta(days=1), name="settle_in"),
    ),
    completed=trip_booked,
    compensated=trip_off,
)


class DropTrip(Command[Done]):
    trip: str


def drop_trip(trip: BookTrip) -> DropTrip:
    return DropTrip(trip=trip.trip)


existing_saga = Saga(
    "existing",
    start=BookTrip,
    steps=(
        Existing(to="office", compensation=drop_trip),
        Existing(to="desk", compensation=drop_trip, name="drop_note"),
        Step(book_room, to="hotel", compensation=cancel_room),
        Pivot(buy_ticket, to="railway"),
    ),
    completed=trip_booked,
    compensated=trip_off,
)
app = App(
    "travel",
    sagas=(trip_saga,),
    services=(Service("hotel", commands=(BookRoom, CancelRoom)), Service("railway", commands=(BuyTicket,))),
)


def step(number: int) -> Any:
    return Step(book_room, to=f"hotel-{number}", compensation=cancel_room, name=f"book_room_{number}")


five_saga = Saga(
    "five",
    start=BookTrip,
    steps=(*(step(number) for number in range(1, 5)), Pivot(buy_ticket, to="railway")),
    completed=trip_booked,
    compensated=trip_off,
)

"""A saga to simulate that has every kind of node: a trip is booked, paid, and its tickets are sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import model_validator

from choros import (
    App,
    Call,
    Command,
    Done,
    Fact,
    Failure,
    Message,
    Pivot,
    Publish,
    Reply,
    Retriable,
    RetryPolicy,
    Saga,
    Service,
    Step,
)


class BookTrip(Message):
    trip_id: str
    nights: int


class SeatReserved(Reply):
    seat: str


class ReserveSeat(Command[SeatReserved], refusals=("train_full",)):
    trip_id: str


class FreeSeat(Command[Done]):
    trip_id: str


class HoldRoom(Command[Done], refusals=("no_room",)):
    trip_id: str
    seat: str

    @model_validator(mode="before")
    @classmethod
    def of_a_known_car(cls, values: Any) -> Any:
        """As validators are written: what is no object raises something that pydantic does not know."""
        if values["seat"] == "":
            raise ValueError("a seat has a number")
        return values


class FreeRoom(Command[Done]):
    trip_id: str


class TakeMoney(Command[Done], refusals=("card_declined",)):
    trip_id: str


class SendTickets(Command[Done]):
    trip_id: str


class TripPlanned(Fact):
    trip_id: str


class TripUnplanned(Fact):
    trip_id: str


class RoomTaken(Fact):
    trip_id: str


class TripPaid(Fact):
    trip_id: str


class TripBooked(Fact):
    trip_id: str


class TripFailed(Fact):
    trip_id: str
    code: str


def reserve_seat(trip: BookTrip) -> ReserveSeat:
    return ReserveSeat(trip_id=trip.trip_id)


def free_seat(trip: BookTrip) -> FreeSeat:
    return FreeSeat(trip_id=trip.trip_id)


def hold_room(trip: BookTrip, seat: SeatReserved) -> HoldRoom:
    return HoldRoom(trip_id=trip.trip_id, seat=seat.seat)


def free_room(trip: BookTrip) -> FreeRoom:
    return FreeRoom(trip_id=trip.trip_id)


def take_money(trip: BookTrip) -> TakeMoney:
    return TakeMoney(trip_id=trip.trip_id)


def send_tickets(trip: BookTrip) -> SendTickets:
    return SendTickets(trip_id=trip.trip_id)


def trip_planned(trip: BookTrip) -> TripPlanned:
    return TripPlanned(trip_id=trip.trip_id)


def trip_unplanned(trip: BookTrip) -> TripUnplanned:
    return TripUnplanned(trip_id=trip.trip_id)


def room_taken(trip: BookTrip) -> RoomTaken:
    return RoomTaken(trip_id=trip.trip_id)


def trip_paid(trip: BookTrip) -> TripPaid:
    return TripPaid(trip_id=trip.trip_id)


def trip_booked(trip: BookTrip) -> TripBooked:
    return TripBooked(trip_id=trip.trip_id)


def trip_failed(trip: BookTrip, failure: Failure) -> TripFailed:
    return TripFailed(trip_id=trip.trip_id, code=failure.code)


SOON = RetryPolicy(initial=timedelta(seconds=1), max=timedelta(seconds=8), total=timedelta(seconds=40))
TIMEOUT = timedelta(seconds=10)

trip_saga = Saga(
    "trip",
    start=BookTrip,
    key=lambda trip: trip.trip_id,
    deadline=timedelta(minutes=3),
    steps=(
        Step(reserve_seat, to="railway", compensation=free_seat, timeout=TIMEOUT, retry=SOON, undo_retry=SOON),
        Publish(trip_planned, early=True, retraction=trip_unplanned),
        Step(hold_room, to="hotel", compensation=free_room, timeout=TIMEOUT, retry=SOON, undo_retry=SOON),
        Publish(room_taken),
        Pivot(take_money, to="bank", timeout=TIMEOUT, retry=SOON),
        Retriable(send_tickets, to="railway", timeout=TIMEOUT, retry=SOON),
        Publish(trip_paid),
    ),
    completed=trip_booked,
    compensated=trip_failed,
)

railway, hotel, bank, notes = Service("railway"), Service("hotel"), Service("bank"), Service("notes")


@railway.handles(ReserveSeat)
async def on_reserve_seat(command: ReserveSeat) -> SeatReserved:
    return SeatReserved(seat="12a")


@railway.handles(FreeSeat)
async def on_free_seat(command: FreeSeat) -> Done:
    return Done()


@railway.handles(SendTickets)
async def on_send_tickets(command: SendTickets) -> Done:
    return Done()


@hotel.handles(HoldRoom)
async def on_hold_room(command: HoldRoom) -> Done:
    return Done()


@hotel.handles(FreeRoom)
async def on_free_room(command: FreeRoom) -> Done:
    return Done()


@bank.provider(TakeMoney)
async def on_take_money(command: TakeMoney, call: Call) -> Done:
    return Done()


@hotel.on(TripUnplanned)
async def on_trip_unplanned(fact: TripUnplanned) -> None: ...


@notes.on(TripPlanned, TripUnplanned, RoomTaken, TripPaid, TripBooked, TripFailed)
async def take_note(fact: Fact) -> None: ...


app = App("travel", sagas=[trip_saga], services=[railway, hotel, bank, notes])

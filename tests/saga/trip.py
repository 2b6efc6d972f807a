"""A saga to test composites with: flight and hotel side by side, a car only if it is wanted, then the pivot."""

from choros.messages import Command, Done, Fact, Message, Reply
from choros.saga.nodes import Branch, Check, Parallel, Pivot, Publish, Retriable, Step, When
from choros.saga.saga import Saga


class Booked(Reply):
    reference: str = "r"


class Charged(Reply):
    amount: int = 1


class BookTrip(Message):
    trip: str = "t1"
    car: bool = True


class BookFlight(Command[Booked], refusals=("full",)):
    trip: str


class BookHotel(Command[Booked], refusals=("full",)):
    trip: str


class BookCar(Command[Booked], refusals=("none_left",)):
    trip: str


class GiveBack(Command[Done]):
    what: str


class CheckPassport(Command[Done], refusals=("out_of_date",)):
    trip: str


class ChargeCard(Command[Charged], refusals=("declined",)):
    references: list[str]


class SendTicket(Command[Done]):
    trip: str


class SendVoucher(Command[Done]):
    trip: str


class CarWanted(Fact):
    trip: str


class CarNotWanted(Fact):
    trip: str


class TripBooked(Fact):
    trip: str


class TripOff(Fact):
    trip: str


def book_flight(trip: BookTrip) -> BookFlight:
    return BookFlight(trip=trip.trip)


def book_hotel(trip: BookTrip) -> BookHotel:
    return BookHotel(trip=trip.trip)


def book_car(trip: BookTrip) -> BookCar:
    return BookCar(trip=trip.trip)


def give_flight_back(trip: BookTrip) -> GiveBack:
    return GiveBack(what=f"flight of {trip.trip}")


def give_hotel_back(trip: BookTrip) -> GiveBack:
    return GiveBack(what=f"hotel of {trip.trip}")


def give_car_back(trip: BookTrip, book_car: Booked | None) -> GiveBack:
    return GiveBack(what=f"car {book_car.reference if book_car else '?'}")


def check_passport(trip: BookTrip) -> CheckPassport:
    return CheckPassport(trip=trip.trip)


def wants_car(trip: BookTrip) -> bool:
    return trip.car


def car_is_wanted(trip: BookTrip) -> CarWanted:
    return CarWanted(trip=trip.trip)


def car_is_not_wanted(trip: BookTrip) -> CarNotWanted:
    return CarNotWanted(trip=trip.trip)


def charge_card(book_flight: Booked, book_hotel: Booked, book_car: Booked | None) -> ChargeCard:
    booked = [book_flight, book_hotel, *([book_car] if book_car else [])]
    return ChargeCard(references=[one.reference for one in booked])


def send_ticket(trip: BookTrip) -> SendTicket:
    return SendTicket(trip=trip.trip)


def give_back_ticket(trip: BookTrip) -> GiveBack:
    return GiveBack(what=f"ticket of {trip.trip}")


def send_voucher(trip: BookTrip) -> SendVoucher:
    return SendVoucher(trip=trip.trip)


def trip_booked(trip: BookTrip) -> TripBooked:
    return TripBooked(trip=trip.trip)


def trip_off(trip: BookTrip) -> TripOff:
    return TripOff(trip=trip.trip)


flight = Step(book_flight, to="flights", compensation=give_flight_back)
hotel = Step(book_hotel, to="hotels", compensation=give_hotel_back)
car = Step(book_car, to="cars", compensation=give_car_back)

trip_saga = Saga(
    "trip",
    start=BookTrip,
    key=lambda trip: trip.trip,
    steps=(
        Parallel(
            flight,
            Branch(
                "stay",
                hotel,
                When(wants_car, then=[car, Publish(car_is_wanted)], otherwise=Publish(car_is_not_wanted)),
            ),
            Check(check_passport, to="office"),
            name="book",
        ),
        Pivot(charge_card, to="payment"),
        Parallel(Retriable(send_ticket, to="mail"), Retriable(send_voucher, to="mail"), name="post"),
    ),
    completed=trip_booked,
    compensated=trip_off,
)

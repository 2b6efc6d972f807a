"""The first saga: two services are commanded, one after the other. Where the second says no, the first is undone.

Everything runs in this process, and broker and store are in its memory.
"""

import asyncio

from choros import App, Command, Done, Message, Pivot, Refused, Saga, Service, Step, running


class PlanTrip(Message):
    """What the saga starts with."""

    trip: str
    nights: int


class BookTrain(Command[Done]):
    """An order to the railway."""

    trip: str


class CancelTrain(Command[Done]):
    """Undoes it."""

    trip: str


class BookRoom(Command[Done], refusals=("full",)):
    """An order to the hotel, which may say no."""

    trip: str
    nights: int


def book_train(start: PlanTrip) -> BookTrain:
    """A step is a function: it makes a command of the messages that it names."""
    return BookTrain(trip=start.trip)


def cancel_train(start: PlanTrip) -> CancelTrain:
    """So is its compensation."""
    return CancelTrain(trip=start.trip)


def book_room(start: PlanTrip) -> BookRoom:
    """The last step decides, so nothing undoes it."""
    return BookRoom(trip=start.trip, nights=start.nights)


trip_saga = Saga(
    "trip",
    start=PlanTrip,
    key=lambda start: start.trip,  # the same trip starts one saga, however often it is asked for
    steps=(Step(book_train, to="railway", compensation=cancel_train), Pivot(book_room, to="hotel")),
)
railway, hotel = Service("railway"), Service("hotel")


@railway.handles(BookTrain)
async def sell_seat(command: BookTrain) -> Done:
    """Carries the command out, and answers."""
    print(f"{command.trip}: a seat is booked")
    return Done()


@railway.handles(CancelTrain)
async def give_seat_back(command: CancelTrain) -> Done:
    """The undo is a command like any other."""
    print(f"{command.trip}: the seat is free again")
    return Done()


@hotel.handles(BookRoom)
async def let_room(command: BookRoom) -> Done:
    """`Refused` is a business no. After any other exception the saga tries again."""
    if command.nights > 7:
        raise Refused("full")
    print(f"{command.trip}: a room is booked")
    return Done()


app = App("travel", sagas=[trip_saga], services=[railway, hotel])


async def main() -> None:
    """Two trips, one after the other."""
    async with running(app) as client:
        for trip, nights in (("Delphi", 2), ("Ithaca", 3650)):
            outcome = await client.run(trip_saga, PlanTrip(trip=trip, nights=nights))
            why = f" ({outcome.failure.code})" if outcome.failure else ""
            print(f"{trip}: {outcome.status}{why}")


if __name__ == "__main__":
    asyncio.run(main())

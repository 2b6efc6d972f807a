"""A small application whose facts can be lost and brought back."""

from __future__ import annotations

from datetime import timedelta

from choros import App, Command, Done, Fact, Message, Pivot, Saga, Service, SqliteTransaction, Step
from choros.transport.fact_log import FactLog


class Trip(Message, name="newsroom.trip"):
    """Where it starts."""

    who: str


class Book(Command[Done], name="newsroom.book"):
    who: str


class Unbook(Command[Done], name="newsroom.unbook"):
    who: str


class Pay(Command[Done], name="newsroom.pay"):
    who: str


class Booked(Fact, name="newsroom.booked"):
    who: str


hotel, bank, news = Service("hotel"), Service("bank"), Service("news")
archive = Service("archive", from_start=True)


@hotel.handles(Book)
async def book(command: Book) -> Done:
    return Done()


@hotel.handles(Unbook)
async def unbook(command: Unbook) -> Done:
    return Done()


@bank.handles(Pay)
async def pay(command: Pay) -> Done:
    return Done()


@news.prepares
@archive.prepares
async def create(db: SqliteTransaction) -> None:
    await db.execute("CREATE TABLE IF NOT EXISTS told (who TEXT)")


@news.on(Booked)
@archive.on(Booked)
async def tell(fact: Booked, db: SqliteTransaction) -> None:
    await db.execute("INSERT INTO told VALUES (?)", (fact.who,))


def book_it(trip: Trip) -> Book:
    return Book(who=trip.who)


def unbook_it(trip: Trip) -> Unbook:
    return Unbook(who=trip.who)


def pay_it(trip: Trip) -> Pay:
    return Pay(who=trip.who)


def booked(trip: Trip) -> Booked:
    return Booked(who=trip.who)


SOON = timedelta(seconds=2)
trip_saga = Saga(
    "trip",
    start=Trip,
    key=lambda trip: trip.who,
    steps=(
        Step(book_it, to="hotel", compensation=unbook_it, timeout=SOON),
        Pivot(pay_it, to="bank", timeout=SOON),
    ),
    completed=booked,
)
app = App("newsroom", sagas=[trip_saga], services=[hotel, bank, news, archive], fact_log=FactLog())

"""A small application to park messages of: a command, its reply, and a fact, each with an effect that is counted."""

from __future__ import annotations

import os

from choros import App, Command, Fact, Message, Pivot, Reply, Saga, Service, SqliteTransaction

ENTRIES = "CREATE TABLE IF NOT EXISTS entry (what TEXT)"


class Trip(Message, name="desk.trip"):
    who: str


class Booked(Reply, name="desk.booked"):
    seat: int


class Book(Command[Booked], name="desk.book"):
    who: str
    seats: int = 1


class Travelled(Fact, name="desk.travelled"):
    who: str


bus, diary = Service("bus"), Service("diary")


@bus.prepares
@diary.prepares
async def create(db: SqliteTransaction) -> None:
    await db.execute(ENTRIES)


@bus.handles(Book)
async def book(command: Book, db: SqliteTransaction) -> Booked:
    await db.execute("INSERT INTO entry VALUES (?)", (f"{command.who} {command.seats}",))
    return Booked(seat=1)


@diary.on(Travelled)
async def write(fact: Travelled, db: SqliteTransaction) -> None:
    await db.execute("INSERT INTO entry VALUES (?)", (fact.who,))


def book_it(trip: Trip) -> Book:
    return Book(who=trip.who)


def travelled(trip: Trip) -> Travelled:
    return Travelled(who=trip.who)


trip_saga = Saga(
    "trip",
    start=Trip,
    key=lambda trip: trip.who,
    steps=(Pivot(book_it, to="bus"),),
    completed=travelled,
)
app = App(os.environ.get("CHOROS_NAMESPACE", "desk"), sagas=[trip_saga], services=[bus, diary])

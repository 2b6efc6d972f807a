"""The application whose stores, databases and messages are carried from version to version. Only public names, and
never changed: what is carried was written by it."""

from __future__ import annotations

from choros import App as Application
from choros import (
    Command,
    Done,
    Fact,
    Message,
    Pivot,
    Publish,
    Refused,
    Reply,
    RetryPolicy,
    Saga,
    Service,
    SqliteTransaction,
    Step,
    Transaction,
)

OUT_OF_ORDER: set[str] = set()
"""Trips whose payment does not work at the moment."""


class Trip(Message, name="carried.trip"):
    who: str


class Reserved(Reply, name="carried.reserved"):
    room: int


class Reserve(Command[Reserved], name="carried.reserve", refusals=("full",)):
    who: str


class Release(Command[Done], name="carried.release"):
    who: str


class Pay(Command[Done], name="carried.pay", refusals=("declined",)):
    who: str


class TripAnnounced(Fact, name="carried.trip-announced"):
    who: str


class TripWithdrawn(Fact, name="carried.trip-withdrawn"):
    who: str


class TripBooked(Fact, name="carried.trip-booked"):
    who: str


class TripFailed(Fact, name="carried.trip-failed"):
    who: str


def announce(trip: Trip) -> TripAnnounced:
    return TripAnnounced(who=trip.who)


def withdraw(trip: Trip) -> TripWithdrawn:
    return TripWithdrawn(who=trip.who)


def reserve(trip: Trip) -> Reserve:
    return Reserve(who=trip.who)


def release(trip: Trip, reserved: Reserved | None) -> Release:
    return Release(who=trip.who)


def pay(trip: Trip) -> Pay:
    return Pay(who=trip.who)


def booked(trip: Trip, reserved: Reserved) -> TripBooked:
    return TripBooked(who=trip.who)


def failed(trip: Trip) -> TripFailed:
    return TripFailed(who=trip.who)


ONCE = RetryPolicy(attempts=1)
SAGA = Saga(
    "trip",
    start=Trip,
    key=lambda trip: trip.who,
    steps=(
        Publish(announce, early=True, retraction=withdraw),
        Step(reserve, to="hotel", compensation=release),
        Pivot(pay, to="bank", retry=ONCE),
    ),
    completed=booked,
    compensated=failed,
)

hotel, bank, mail = Service("hotel"), Service("bank"), Service("mail")
ledger = Service("ledger", ordered=True)


async def note(db: Transaction, what: str, who: str) -> None:
    """One effect, in whatever kind of database it is."""
    if isinstance(db, SqliteTransaction):
        await db.execute("CREATE TABLE IF NOT EXISTS effect (what TEXT, who TEXT)")
        await db.execute("INSERT INTO effect VALUES (?, ?)", (what, who))
    else:
        await db.rpush("carried:effects", f"{what} {who}")  # type: ignore[attr-defined]  # Redis has it


@hotel.handles(Reserve)
async def reserving(command: Reserve, db: Transaction) -> Reserved:
    await note(db, "reserve", command.who)
    return Reserved(room=17)


@hotel.handles(Release)
async def releasing(command: Release, db: Transaction) -> Done:
    await note(db, "release", command.who)
    return Done()


@bank.handles(Pay)
async def paying(command: Pay, db: Transaction) -> Done:
    if command.who in OUT_OF_ORDER:
        raise RuntimeError
    if command.who.startswith("poor"):
        raise Refused("declined")
    await note(db, "pay", command.who)
    return Done()


@mail.on(TripAnnounced)
async def congratulate(fact: TripAnnounced, db: Transaction) -> None:
    await note(db, "congratulate", fact.who)


@mail.on(TripWithdrawn, undoes=TripAnnounced)
async def apologize(fact: TripWithdrawn, db: Transaction) -> None:
    await note(db, "apologize", fact.who)


@ledger.on(TripBooked, TripFailed)
async def write_down(fact: TripBooked | TripFailed, db: Transaction) -> None:
    await note(db, type(fact).__name__, fact.who)


app = Application("old", name="desk", sagas=[SAGA], services=[hotel, bank, mail, ledger])
PARTICIPANTS, SUBSCRIBERS = (hotel, bank), (mail, ledger)

"""An application in which two versions of a saga are deployed: the newer one calls all of its steps otherwise."""

from __future__ import annotations

from choros import (
    App,
    Command,
    Done,
    Fact,
    ForEach,
    Message,
    Parallel,
    Pivot,
    Publish,
    Reply,
    Retriable,
    Saga,
    Service,
    Step,
)


class Book(Message):
    trip: str
    nights: int = 2


class Paid(Reply):
    by: str


class Pay(Command[Paid], refusals=("declined",)):
    trip: str


class PayBack(Command[Done]):
    trip: str


class Reserve(Command[Done], refusals=("full",)):
    night: int


class Release(Command[Done]):
    night: int


class Insure(Command[Done]):
    trip: str


class Uninsure(Command[Done]):
    trip: str


class Confirm(Command[Done], refusals=("too_late",)):
    by: str


class Send(Command[Done]):
    trip: str


class Wanted(Fact):
    trip: str


class NotWanted(Fact):
    trip: str


class Off(Fact):
    trip: str


def pay(book: Book) -> Pay:
    return Pay(trip=book.trip)


def pay_back(book: Book) -> PayBack:
    return PayBack(trip=book.trip)


def nights(book: Book) -> list[int]:
    return list(range(book.nights))


def reserve(book: Book, night: int) -> Reserve:
    return Reserve(night=night)


def release(book: Book, night: int) -> Release:
    return Release(night=night)


def wanted(book: Book) -> Wanted:
    return Wanted(trip=book.trip)


def not_wanted(book: Book) -> NotWanted:
    return NotWanted(trip=book.trip)


def insure(book: Book) -> Insure:
    return Insure(trip=book.trip)


def uninsure(book: Book) -> Uninsure:
    return Uninsure(trip=book.trip)


def confirm(book: Book, paid: Paid) -> Confirm:
    return Confirm(by=paid.by)


def send(book: Book) -> Send:
    return Send(trip=book.trip)


def off(book: Book) -> Off:
    return Off(trip=book.trip)


def trip(version: int, called: str = "") -> Saga[Book]:
    """The same, whatever its steps are called."""
    return Saga(
        "trip",
        version=version,
        start=Book,
        key=lambda book: book.trip,
        steps=(
            Parallel(
                ForEach(
                    nights, Step(reserve, to="hotel", compensation=release, name=f"night{called}"), name=f"stay{called}"
                ),
                Step(pay, to="bank", compensation=pay_back, name=f"pay{called}"),
                name=f"booked{called}",
            ),
            Publish(wanted, early=True, retraction=not_wanted, name=f"told{called}"),
            Step(insure, to="bank", compensation=uninsure, name=f"insure{called}"),
            Pivot(confirm, to="hotel", name=f"confirm{called}"),
            Retriable(send, to="bank", name=f"send{called}"),
        ),
        compensated=off,
    )


app = App(
    "releases",
    sagas=[trip(1), trip(2, "_2")],
    services=[
        Service("hotel", commands=(Reserve, Release, Confirm)),
        Service("bank", commands=(Pay, PayBack, Insure, Uninsure, Send)),
        Service("news", facts=(Wanted, NotWanted, Off)),
    ],
)

"""A user's own application, as small as can be: a book is lent. Its handlers write into a database in memory."""

from __future__ import annotations

from choros import App, Command, Done, Message, Refused, Saga, Service, Step
from choros.store.memory.barrier import MemoryTransaction


class Borrow(Message):
    title: str


class TakeBook(Command[Done], refusals=("lent_out",)):
    title: str


class PutBookBack(Command[Done]):
    title: str


class NoteLoan(Command[Done], refusals=("too_many_books",)):
    title: str


class StrikeLoan(Command[Done]):
    title: str


shelf, desk = Service("shelf"), Service("desk")


@shelf.handles(TakeBook)
async def take_book(command: TakeBook, db: MemoryTransaction) -> Done:
    if await db.get(command.title, 0) >= 3:
        raise Refused("lent_out")
    await db.put(command.title, await db.get(command.title, 0) + 1)
    return Done()


@shelf.handles(PutBookBack)
async def put_book_back(command: PutBookBack, db: MemoryTransaction) -> Done:
    await db.put(command.title, await db.get(command.title, 0) - 1)
    return Done()


@desk.handles(NoteLoan)
async def note_loan(command: NoteLoan) -> Done:
    return Done()


@desk.handles(StrikeLoan)
async def strike_loan(command: StrikeLoan) -> Done:
    return Done()


def take(order: Borrow) -> TakeBook:
    return TakeBook(title=order.title)


def put_back(order: Borrow) -> PutBookBack:
    return PutBookBack(title=order.title)


def note(order: Borrow) -> NoteLoan:
    return NoteLoan(title=order.title)


def strike(order: Borrow) -> StrikeLoan:
    return StrikeLoan(title=order.title)


lending = Saga(
    "lending",
    start=Borrow,
    steps=(Step(take, to="shelf", compensation=put_back), Step(note, to="desk", compensation=strike)),
)
app = App("library", sagas=[lending], services=[shelf, desk])

"""A user's own application whose handlers need more than messages: a Redis, and a client of a bank."""

from __future__ import annotations

from typing import Protocol

from choros import App, Call, Command, Done, Message, Pivot, Refused, Saga, Service, Step
from choros.store.redis.barrier import RedisTransaction

SEATS = 2


class Order(Message):
    play: str


class TakeSeat(Command[Done], refusals=("sold_out",)):
    play: str


class GiveSeatBack(Command[Done]):
    play: str


class Charge(Command[Done], refusals=("declined",)):
    play: str


class Bank(Protocol):
    """What the bank's client is here; in earnest it speaks HTTP."""

    async def charge(self, key: str, amount: int) -> None: ...

    async def charged(self, key: str) -> bool: ...


office = Service("office")


@office.handles(TakeSeat)
async def take_seat(command: TakeSeat, db: RedisTransaction) -> Done:
    taken = int(await db.get(command.play) or 0)
    if taken >= SEATS:
        raise Refused("sold_out")
    await db.set(command.play, str(taken + 1))
    return Done()


@office.handles(GiveSeatBack)
async def give_seat_back(command: GiveSeatBack, db: RedisTransaction) -> Done:
    await db.set(command.play, str(int(await db.get(command.play) or 0) - 1))
    return Done()


def till(bank: Bank) -> Service:
    """The service that talks to the bank: in earnest made with the client that the process opens."""
    service = Service("till")

    async def was_charged(command: Charge, call: Call) -> Done | None:
        return Done() if await bank.charged(call.key) else None

    @service.provider(Charge, ask=was_charged)
    async def charge(command: Charge, call: Call) -> Done:
        await bank.charge(call.key, 20)
        return Done()

    return service


def take(order: Order) -> TakeSeat:
    return TakeSeat(play=order.play)


def give_back(order: Order) -> GiveSeatBack:
    return GiveSeatBack(play=order.play)


def pay(order: Order) -> Charge:
    return Charge(play=order.play)


booking = Saga("booking", start=Order, steps=(Step(take, to="office", compensation=give_back), Pivot(pay, to="till")))
app = App("theatre", sagas=[booking], services=[office, Service("till", commands=(Charge,))])


class BankOfPaper:
    """A bank for tests: it knows a key again, as the real one does."""

    def __init__(self) -> None:
        self.books: dict[str, int] = {}

    async def charge(self, key: str, amount: int) -> None:
        self.books.setdefault(key, amount)

    async def charged(self, key: str) -> bool:
        return key in self.books


def till_of_paper() -> Service:
    return till(BankOfPaper())

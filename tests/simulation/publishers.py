"""An application whose services publish in turn, commanded and event-driven, to be simulated."""

from __future__ import annotations

from choros import (
    App,
    Command,
    Done,
    Fact,
    MemoryTransaction,
    Message,
    Outbox,
    Pivot,
    Saga,
    Service,
    Step,
)


class Order(Message):
    order: str


class Charge(Command[Done], refusals=("card_declined",)):
    order: str


class Refund(Command[Done]):
    order: str


class Ship(Command[Done], refusals=("lost",)):
    order: str


class Ordered(Fact):
    order: str


class Charged(Fact):
    order: str


class Refunded(Fact):
    order: str


class PointsGranted(Fact):
    order: str


class BecameGold(Fact):
    order: str


class StayedSilver(Fact):
    order: str


def charge(order: Order) -> Charge:
    return Charge(order=order.order)


def refund(order: Order) -> Refund:
    return Refund(order=order.order)


def ship(order: Order) -> Ship:
    return Ship(order=order.order)


def ordered(order: Order) -> Ordered:
    return Ordered(order=order.order)


saga = Saga(
    "order", start=Order, key=lambda order: order.order, completed=ordered,
    steps=(Step(charge, to="payment", compensation=refund), Pivot(ship, to="shipping")),
)  # fmt: skip
payment, shipping, loyalty, club = Service("payment"), Service("shipping"), Service("loyalty"), Service("club")
mails = Service("mails")


@payment.handles(Charge, publishes=Charged)
async def take(command: Charge, db: MemoryTransaction, outbox: Outbox) -> Done:
    await outbox.publish(Charged(order=command.order))
    return Done()


@payment.handles(Refund, publishes=Refunded)
async def give_back(command: Refund, db: MemoryTransaction, outbox: Outbox) -> Done:
    await outbox.publish(Refunded(order=command.order))
    return Done()


@shipping.handles(Ship)
async def post(command: Ship, db: MemoryTransaction) -> Done:
    return Done()


@loyalty.on(Ordered, publishes=PointsGranted)
async def grant(fact: Ordered, db: MemoryTransaction) -> PointsGranted:
    return PointsGranted(order=fact.order)


@loyalty.on(Charged, publishes=PointsGranted)
async def promise(fact: Charged, db: MemoryTransaction) -> PointsGranted:
    return PointsGranted(order=fact.order)


@club.on(PointsGranted, publishes=(BecameGold, StayedSilver))
async def count(fact: PointsGranted, db: MemoryTransaction) -> BecameGold | StayedSilver:
    return BecameGold(order=fact.order)


@mails.on(BecameGold, StayedSilver, Refunded)
async def tell(fact: BecameGold | StayedSilver | Refunded, db: MemoryTransaction) -> None:
    return None


app = App("shop", sagas=[saga], services=[payment, shipping, loyalty, club, mails])

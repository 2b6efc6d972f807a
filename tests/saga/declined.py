"""A purchase whose refusals say more than their code: the card's limit, and the street that is not served."""

from __future__ import annotations

from decimal import Decimal

from choros.app.app import App
from choros.app.service import Service
from choros.errors import Refused
from choros.messages import Command, Done, Fact, Failure, Message, Reply
from choros.saga.nodes import Pivot, Step
from choros.saga.saga import Saga
from choros.store.barrier import Transaction


class Buy(Message):
    order: str
    how: str = "ok"


class Paid(Reply):
    payment: str


class Declined(Reply):
    limit: Decimal


class NotServed(Reply):
    street: str


class Pay(Command[Paid], refusals={"card_declined": Declined, "card_blocked": Declined, "closed": None}):
    order: str
    how: str


class Refund(Command[Done]):
    order: str


class Send(Command[Done], refusals={"not_served": NotServed}):
    order: str


class Bought(Fact):
    order: str


class NotBought(Fact):
    order: str
    code: str
    limit: Decimal | None = None
    street: str = ""


def pay(buy: Buy) -> Pay:
    return Pay(order=buy.order, how=buy.how)


def refund(buy: Buy) -> Refund:
    return Refund(order=buy.order)


def send(buy: Buy) -> Send:
    return Send(order=buy.order)


def bought(buy: Buy) -> Bought:
    return Bought(order=buy.order)


def not_bought(buy: Buy, why: Failure, declined: Declined | None, not_served: NotServed | None) -> NotBought:
    limit, street = declined.limit if declined else None, not_served.street if not_served else ""
    return NotBought(order=buy.order, code=why.code, limit=limit, street=street)


SAGA = Saga(
    "purchase",
    start=Buy,
    key=lambda buy: buy.order,
    steps=(Step(pay, to="payment", compensation=refund), Pivot(send, to="post")),
    completed=bought,
    compensated=not_bought,
)
LIMIT = Decimal("100.000000000000000000000000001")
payment, post = Service("payment"), Service("post")
HOW = {
    "declined": lambda: Refused("card_declined", "no cover", data=Declined(limit=LIMIT)),
    "closed": lambda: Refused("closed"),
    "without": lambda: Refused("card_declined"),
    "another": lambda: Refused("card_declined", data=NotServed(street="secret")),
    "undeclared": lambda: Refused("closed", data=Declined(limit=LIMIT)),
    "no message": lambda: Refused("card_declined", data={"limit": "secret"}),  # type: ignore[arg-type]
    "huge": lambda: Refused("card_declined", data=Declined(limit=Decimal("1" * 1_100_000))),
}


@payment.handles(Pay)
async def charge(command: Pay, db: Transaction) -> Paid:
    if command.how in HOW:
        raise HOW[command.how]()
    return Paid(payment="p-1")


@payment.handles(Refund)
async def give_back(command: Refund) -> Done:
    return Done()


@post.handles(Send)
async def hand_in(command: Send) -> Done:
    raise Refused("not_served", data=NotServed(street=command.order))


APP = App("shop", sagas=[SAGA], services=[payment, post])

"""What the participant in Node is asked and told: a sale, in three shapes."""

from __future__ import annotations

from datetime import timedelta

from choros import App, Command, Done, Fact, Message, Pivot, Reply, RetryPolicy, Saga, Service, Step

PATIENT, HASTY = timedelta(seconds=60), timedelta(seconds=0.3)
ONCE = RetryPolicy(attempts=1)
SOON = RetryPolicy(initial=timedelta(seconds=0.05), attempts=3)


class Buy(Message):
    order: str
    amount: int = 10


class Charged(Reply):
    payment: str


class Declined(Reply):
    limit: int


class Charge(Command[Charged], refusals={"card_declined": Declined}):
    order: str
    amount: int


class Refund(Command[Done]):
    order: str


class Send(Command[Done], refusals=("no_such_address",)):
    order: str


class Bought(Fact):
    order: str


class NotBought(Fact):
    order: str
    limit: int | None = None


def charge(buy: Buy) -> Charge:
    return Charge(order=buy.order, amount=buy.amount)


def refund(buy: Buy) -> Refund:
    return Refund(order=buy.order)


def send(buy: Buy) -> Send:
    return Send(order=buy.order)


def bought(buy: Buy) -> Bought:
    return Bought(order=buy.order)


def not_bought(buy: Buy, declined: Declined | None) -> NotBought:
    return NotBought(order=buy.order, limit=declined.limit if declined else None)


def _sale(name: str, timeout: timedelta, retry: RetryPolicy) -> Saga[Buy]:
    return Saga(
        name,
        start=Buy,
        key=lambda buy: buy.order,
        steps=(
            Step(charge, to="till", compensation=refund, timeout=timeout, retry=retry),
            Pivot(send, to="till", timeout=PATIENT, retry=ONCE),
        ),
        completed=bought,
        compensated=not_bought,
    )


SALE, HURRIED = _sale("sale", PATIENT, SOON), _sale("hurried", HASTY, ONCE)


def app(namespace: str) -> App:
    till = Service("till", commands=(Charge, Refund, Send))
    return App(namespace, name="market", sagas=(SALE, HURRIED), services=(till, Service("audit", facts=(Bought,))))

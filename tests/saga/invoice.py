"""A saga that waits for what others say: an order is handed over once it is paid, and reported delivered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from choros.messages import Command, Done, Fact, Message
from choros.saga.nodes import Pivot, Step, Wait
from choros.saga.saga import Saga

DAY = timedelta(days=1)


class Order(Message):
    order_id: str = "o1"
    invoice: str = "i1"


class Reserve(Command[Done], refusals=("sold_out",)):
    order_id: str


class Release(Command[Done]):
    order_id: str


class HandOver(Command[Done], refusals=("nobody_home",)):
    order_id: str
    payment: str


class InvoicePaid(Fact):
    invoice: str
    payment: str = "p1"


class ParcelDelivered(Fact):
    order_id: str
    where: str = "door"


class OrderHandedOver(Fact):
    order_id: str


class OrderDropped(Fact):
    order_id: str


def reserve(order: Order) -> Reserve:
    return Reserve(order_id=order.order_id)


def release(order: Order) -> Release:
    return Release(order_id=order.order_id)


def invoice_of(order: Order) -> str:
    return order.invoice


def paid_invoice(fact: InvoicePaid) -> str:
    if fact.payment == "broken":
        raise KeyError(fact.payment)
    return fact.invoice


def hand_over(order: Order, paid: InvoicePaid) -> HandOver:
    return HandOver(order_id=order.order_id, payment=paid.payment)


def handed_over(order: Order) -> OrderHandedOver:
    return OrderHandedOver(order_id=order.order_id)


def dropped(order: Order) -> OrderDropped:
    return OrderDropped(order_id=order.order_id)


PAID = Wait(InvoicePaid, key=invoice_of, of=paid_invoice, within=3 * DAY, keep=2 * DAY)
RESERVED = Step(reserve, to="stock", compensation=release)
HANDED = Pivot(hand_over, to="van")


def make_delivery(*steps: Any, name: str = "delivery", **more: Any) -> Saga[Order]:
    given = {"key": lambda order: order.order_id, "completed": handed_over, "compensated": dropped, **more}
    return Saga(name, start=Order, steps=steps or (RESERVED, PAID, HANDED), **given)


delivery = make_delivery()

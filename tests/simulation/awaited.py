"""Two sagas of which one waits for what the other says: an order is handed over once its bill is paid."""

from __future__ import annotations

from typing import Any

from choros import App, Command, Done, Message, Pivot, Saga, Service
from tests.saga.invoice import HANDED, PAID, HandOver, InvoicePaid, Order, Release, Reserve, make_delivery

FIRST = make_delivery(PAID, HANDED)


class Bill(Message):
    invoice: str = "i1"


class Collect(Command[Done]):
    invoice: str


def collect(bill: Bill) -> Collect:
    return Collect(invoice=bill.invoice)


def paid(bill: Bill) -> InvoicePaid:
    return InvoicePaid(invoice=bill.invoice)


billing: Saga[Any] = Saga(
    "billing", start=Bill, key=lambda bill: bill.invoice, steps=(Pivot(collect, to="bank"),), completed=paid
)
app = App(
    "awaiting",
    sagas=(FIRST, billing),
    services=(
        Service("stock", commands=(Reserve, Release)),
        Service("van", commands=(HandOver,)),
        Service("bank", commands=(Collect,)),
    ),
)
STARTS: list[tuple[Saga[Any], Message]] = [(FIRST, Order()), (billing, Bill())]

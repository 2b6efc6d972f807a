"""An order whose credit is a saga of its own, with services that write every effect down, and its being taken back.

The last digit of the total says what becomes of it: 1, the credit is refused; 2, its note is; 3, nobody ships it."""

from __future__ import annotations

import os
from datetime import timedelta

from choros import App, Done, Message, Nested, Pivot, Refused, Saga, Service, SqliteTransaction, Step
from tests.saga import credit as c

ENTRIES = "CREATE TABLE IF NOT EXISTS entry (what TEXT, change INTEGER)"
SOON = timedelta(seconds=2)


class Order(Message, name="credit-shop.order"):
    order: str
    total: int


def hold_stock(order: Order) -> c.HoldStock:
    return c.HoldStock(order=order.order)


def give_stock_back(order: Order) -> c.GiveStockBack:
    return c.GiveStockBack(order=order.order)


def reserve_credit(order: Order) -> c.ReserveCredit:
    return c.ReserveCredit(customer=f"{order.order}-{order.total}", total=order.total)


def ship(order: Order, credit: c.CreditReserved) -> c.Ship:
    return c.Ship(order=f"{order.order}-{order.total}", credit=credit.credit)


credit_saga = Saga(
    "credit",
    start=c.ReserveCredit,
    key=lambda start: start.customer,
    steps=(
        Step(c.hold_credit, to="bank", compensation=c.give_credit_back, timeout=SOON),
        Step(c.note_credit, to="books", compensation=c.strike_note, timeout=SOON),
    ),
    result=c.reserved,
)
order_saga = Saga(
    "order",
    start=Order,
    key=lambda order: order.order,
    steps=(
        Step(hold_stock, to="stock", compensation=give_stock_back, timeout=SOON),
        Nested(credit_saga, reserve_credit, timeout=SOON),
        Pivot(ship, to="lorries", timeout=SOON),
    ),
)
stock, bank, books, lorries = (Service(name) for name in ("stock", "bank", "books", "lorries"))


@stock.prepares
@bank.prepares
@books.prepares
@lorries.prepares
async def create(db: SqliteTransaction) -> None:
    await db.execute(ENTRIES)


async def enter(db: SqliteTransaction, what: str, change: int) -> None:
    await db.execute("INSERT INTO entry VALUES (?, ?)", (what, change))


def refuse_for(what: str, digit: str, code: str) -> None:
    if what.endswith(digit):
        raise Refused(code)


@stock.handles(c.HoldStock)
async def hold(command: c.HoldStock, db: SqliteTransaction) -> c.Held:
    await enter(db, command.order, 1)
    return c.Held()


@stock.handles(c.GiveStockBack)
async def give_back(command: c.GiveStockBack, db: SqliteTransaction) -> Done:
    await enter(db, command.order, -1)
    return Done()


@bank.handles(c.HoldCredit)
async def hold_credit(command: c.HoldCredit, db: SqliteTransaction) -> c.Held:
    refuse_for(command.customer, "1", "too_much")
    await enter(db, command.customer, 1)
    return c.Held(hold=command.customer)


@bank.handles(c.GiveCreditBack)
async def give_credit_back(command: c.GiveCreditBack, db: SqliteTransaction) -> Done:
    await enter(db, command.customer, -1)
    return Done()


@books.handles(c.NoteCredit)
async def note(command: c.NoteCredit, db: SqliteTransaction) -> c.Noted:
    refuse_for(command.customer, "2", "no_book")
    await enter(db, command.customer, 1)
    return c.Noted()


@books.handles(c.StrikeNote)
async def strike(command: c.StrikeNote, db: SqliteTransaction) -> Done:
    await enter(db, command.customer, -1)
    return Done()


@lorries.handles(c.Ship)
async def send(command: c.Ship, db: SqliteTransaction) -> Done:
    refuse_for(command.order, "3", "no_lorry")
    await enter(db, command.order, 1)
    return Done()


app = App(
    os.environ.get("CHOROS_NAMESPACE", "creditshop"),
    sagas=[order_saga, credit_saga],
    services=[stock, bank, books, lorries],
)

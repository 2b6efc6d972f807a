"""An application whose orders are recorded where the sagas are decided, and shipped by somebody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from choros import (
    App,
    Call,
    Command,
    Done,
    Local,
    Message,
    Pivot,
    Refused,
    Reply,
    RetryPolicy,
    Saga,
    Service,
    SqliteTransaction,
)


class TakeOrder(Message):
    order_id: str


class OrderRecorded(Reply):
    number: int


class RecordOrder(Command[OrderRecorded], refusals=("taken",)):
    order_id: str


class EraseOrder(Command[Done]):
    order_id: str


class AskForeman(Command[Done], refusals=("no",)):
    order_id: str


class ForgetForeman(Command[Done]):
    order_id: str


class ShipOrder(Command[Done], refusals=("no_such_address",)):
    order_id: str
    number: int


class FileOrder(Command[Done]):
    order_id: str


def record_order(order: TakeOrder) -> RecordOrder:
    return RecordOrder(order_id=order.order_id)


def erase_order(order: TakeOrder) -> EraseOrder:
    return EraseOrder(order_id=order.order_id)


def ask_foreman(order: TakeOrder) -> AskForeman:
    return AskForeman(order_id=order.order_id)


def forget_foreman(order: TakeOrder) -> ForgetForeman:
    return ForgetForeman(order_id=order.order_id)


def ship_order(order: TakeOrder, recorded: OrderRecorded) -> ShipOrder:
    return ShipOrder(order_id=order.order_id, number=recorded.number)


def file_order(order: TakeOrder) -> FileOrder:
    return FileOrder(order_id=order.order_id)


@dataclass
class Counterpart:
    """An application, and what a test has in hand of it."""

    taking: Saga[TakeOrder]
    asking: Saga[TakeOrder]
    calls: Counter[str] = field(default_factory=Counter)
    attempts: list[Call] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """The foreman says nothing before it is set."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    services: Sequence[Service] = ()

    @property
    def app(self) -> App:
        return App("counter", sagas=[self.taking, self.asking], services=self.services)


def counter(timeout: timedelta = timedelta(seconds=30), handler_time: timedelta | None = None) -> Counterpart:
    """Made anew, for one test."""
    orders, carrier = Service("orders"), Service("carrier")
    soon = RetryPolicy(initial=timedelta(milliseconds=10))
    taking = Saga(
        "taking", start=TakeOrder, key=lambda order: order.order_id,
        steps=(
            Local(record_order, to="orders", compensation=erase_order, timeout=timeout, retry=soon),
            Pivot(ship_order, to="carrier"),
            Local(file_order, to="orders", timeout=timeout, retry=soon),
        ),
    )  # fmt: skip
    asking = Saga(
        "asking", start=TakeOrder, key=lambda order: order.order_id,
        steps=(Local(ask_foreman, to="orders", compensation=forget_foreman, timeout=timeout, retry=soon),),
    )  # fmt: skip
    made = Counterpart(taking, asking)

    @orders.prepares
    async def create(db: SqliteTransaction) -> None:
        await db.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, state TEXT)")

    @orders.handles(RecordOrder)
    async def record(command: RecordOrder, db: SqliteTransaction) -> OrderRecorded:
        made.calls["record"] += 1
        if command.order_id == "taken":
            raise Refused("taken")
        await db.execute("INSERT INTO orders VALUES (?, 'new')", (command.order_id,))
        return OrderRecorded(number=len(command.order_id))

    @orders.handles(EraseOrder)
    async def erase(command: EraseOrder, db: SqliteTransaction) -> Done:
        made.calls["erase"] += 1
        await db.execute("DELETE FROM orders WHERE id = ?", (command.order_id,))
        return Done()

    @orders.handles(AskForeman, handler_time=handler_time)
    async def ask(command: AskForeman, call: Call) -> Done:
        made.attempts.append(call)
        made.asked.set()
        await made.held.wait()
        return Done()

    @orders.handles(ForgetForeman)
    async def forget(command: ForgetForeman) -> Done:
        return Done()

    @orders.handles(FileOrder)
    async def file(command: FileOrder, db: SqliteTransaction) -> Done:
        made.calls["file"] += 1
        await db.execute("UPDATE orders SET state = 'filed' WHERE id = ?", (command.order_id,))
        return Done()

    @carrier.handles(ShipOrder)
    async def ship(command: ShipOrder) -> Done:
        if command.order_id == "nowhere":
            raise Refused("no_such_address")
        return Done()

    made.services = (orders, carrier)
    return made

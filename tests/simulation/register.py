"""A saga to simulate that has local steps before the pivot and behind it, beside commanded ones: an order goes into a
register that whoever decides the saga keeps."""

from __future__ import annotations

from choros import (
    App,
    Command,
    Done,
    Fact,
    Failure,
    Local,
    Message,
    Pivot,
    Refused,
    Reply,
    Saga,
    Service,
    Step,
)
from choros.store.memory.barrier import MemoryTransaction


class TakeOrder(Message):
    order_id: str


class OrderRecorded(Reply):
    number: str


class RecordOrder(Command[OrderRecorded], refusals=("known",)):
    order_id: str


class EraseOrder(Command[Done]):
    order_id: str


class HoldStock(Command[Done], refusals=("sold_out",)):
    order_id: str
    number: str


class FreeStock(Command[Done]):
    order_id: str


class ShipOrder(Command[Done], refusals=("no_such_address",)):
    order_id: str


class FileOrder(Command[Done]):
    order_id: str


class OrderFiled(Fact):
    order_id: str


class OrderDropped(Fact):
    order_id: str
    why: str


def record_order(order: TakeOrder) -> RecordOrder:
    return RecordOrder(order_id=order.order_id)


def erase_order(order: TakeOrder) -> EraseOrder:
    return EraseOrder(order_id=order.order_id)


def hold_stock(order: TakeOrder, recorded: OrderRecorded) -> HoldStock:
    return HoldStock(order_id=order.order_id, number=recorded.number)


def free_stock(order: TakeOrder) -> FreeStock:
    return FreeStock(order_id=order.order_id)


def ship_order(order: TakeOrder) -> ShipOrder:
    return ShipOrder(order_id=order.order_id)


def file_order(order: TakeOrder) -> FileOrder:
    return FileOrder(order_id=order.order_id)


def order_filed(order: TakeOrder) -> OrderFiled:
    return OrderFiled(order_id=order.order_id)


def order_dropped(order: TakeOrder, failure: Failure) -> OrderDropped:
    return OrderDropped(order_id=order.order_id, why=failure.code)


record = Local(record_order, to="register", compensation=erase_order)
registering = Saga(
    "registering",
    start=TakeOrder,
    key=lambda order: order.order_id,
    steps=(
        record,
        Step(hold_stock, to="stock", compensation=free_stock),
        Pivot(ship_order, to="carrier"),
        Local(file_order, to="register"),
    ),
    completed=order_filed,
    compensated=order_dropped,
)
noting = Saga("noting", start=TakeOrder, key=lambda order: order.order_id, steps=(record,))
"""It commands nobody else."""
register = Service("register")


@register.handles(RecordOrder)
async def record_in_register(command: RecordOrder, db: MemoryTransaction) -> OrderRecorded:
    if await db.get(command.order_id):
        raise Refused("known")
    await db.put(command.order_id, "recorded")
    return OrderRecorded(number=f"n-{command.order_id}")


@register.handles(EraseOrder)
async def erase_from_register(command: EraseOrder, db: MemoryTransaction) -> Done:
    await db.put(command.order_id, "")
    return Done()


@register.handles(FileOrder)
async def file_in_register(command: FileOrder, db: MemoryTransaction) -> Done:
    await db.put(command.order_id, "filed")
    return Done()


app = App(
    "counter",
    sagas=(registering, noting),
    services=(
        register,
        Service("stock", commands=(HoldStock, FreeStock)),
        Service("carrier", commands=(ShipOrder,)),
        Service("clerk", facts=(OrderFiled, OrderDropped)),
    ),
)

"""An application whose saga begins with what was there before it: an order, withdrawn where the saga is undone."""

from __future__ import annotations

from choros import App, Check, Command, Done, Existing, Fact, Message, Pivot, Saga, Service, Step


class Fulfil(Message):
    order_id: str


class WithdrawOrder(Command[Done]):
    order_id: str


class FreeSeat(Command[Done]):
    order_id: str


class AskCredit(Command[Done], refusals=("no_credit",)):
    order_id: str


class HoldStock(Command[Done], refusals=("sold_out",)):
    order_id: str


class FreeStock(Command[Done]):
    order_id: str


class Ship(Command[Done], refusals=("no_such_address",)):
    order_id: str


class Fulfilled(Fact):
    order_id: str


class Withdrawn(Fact):
    order_id: str


def withdraw_order(order: Fulfil) -> WithdrawOrder:
    return WithdrawOrder(order_id=order.order_id)


def free_seat(order: Fulfil) -> FreeSeat:
    return FreeSeat(order_id=order.order_id)


def ask_credit(order: Fulfil) -> AskCredit:
    return AskCredit(order_id=order.order_id)


def hold_stock(order: Fulfil) -> HoldStock:
    return HoldStock(order_id=order.order_id)


def free_stock(order: Fulfil) -> FreeStock:
    return FreeStock(order_id=order.order_id)


def ship(order: Fulfil) -> Ship:
    return Ship(order_id=order.order_id)


def fulfilled(order: Fulfil) -> Fulfilled:
    return Fulfilled(order_id=order.order_id)


def withdrawn(order: Fulfil) -> Withdrawn:
    return Withdrawn(order_id=order.order_id)


fulfilment = Saga(
    "fulfilment",
    start=Fulfil,
    steps=(
        Existing(to="orders", compensation=withdraw_order),
        Existing(to="seats", compensation=free_seat),
        Check(ask_credit, to="credit"),
        Step(hold_stock, to="stock", compensation=free_stock),
        Pivot(ship, to="shipping"),
    ),
    completed=fulfilled,
    compensated=withdrawn,
)
orders, seats = Service("orders", commands=(WithdrawOrder,)), Service("seats")


@seats.provider(FreeSeat)
async def at_the_theatre(command: FreeSeat) -> Done:
    """Its effect is not in the service's own database."""
    return Done()


app = App(
    "returns",
    sagas=[fulfilment],
    services=[
        orders,
        seats,
        Service("credit", commands=(AskCredit,)),
        Service("stock", commands=(HoldStock, FreeStock)),
        Service("shipping", commands=(Ship,)),
        Service("news", facts=(Fulfilled, Withdrawn)),
    ],
)

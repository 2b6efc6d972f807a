"""A saga to test loops with: each line of an order is reserved in its own warehouse, so many at a time."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from choros.messages import Command, Done, Fact, Message, Reply
from choros.saga.nodes import ForEach, Pivot, Retriable, Step, When
from choros.saga.saga import Saga


class Line(BaseModel):
    article: str
    count: int = 1
    gift: bool = False


class Order(Message):
    order: str = "o1"
    lines: list[Line]


class Reserved(Reply):
    at: str = "shelf"


class Wrapped(Reply):
    paper: str = "red"


class Paid(Reply):
    pass


class ReserveLine(Command[Reserved], refusals=("sold_out",)):
    order: str
    article: str


class ReleaseLine(Command[Done]):
    article: str
    at: str = "?"


class WrapLine(Command[Wrapped], refusals=("no_paper",)):
    at: str


class UnwrapLine(Command[Done]):
    article: str


class Pay(Command[Paid], refusals=("declined",)):
    shelves: list[str]
    papers: list[str] = Field(default_factory=list)


class SendLine(Command[Done]):
    article: str


class Off(Fact):
    order: str


def lines(order: Order) -> list[Line]:
    return order.lines


def reserve_line(order: Order, line: Line) -> ReserveLine:
    return ReserveLine(order=order.order, article=line.article)


def release_line(line: Line, reserve_line: Reserved | None) -> ReleaseLine:
    return ReleaseLine(article=line.article, at=reserve_line.at if reserve_line else "?")


def is_gift(line: Line) -> bool:
    return line.gift


def wrap_line(reserve_line: Reserved) -> WrapLine:
    return WrapLine(at=reserve_line.at)


def unwrap_line(line: Line) -> UnwrapLine:
    return UnwrapLine(article=line.article)


def pay(reserved: list[Reserved], wrapped: Sequence[Wrapped | None]) -> Pay:
    papers = [one.paper if one else "none" for one in wrapped]
    return Pay(shelves=[one.at for one in reserved], papers=papers)


def send_line(line: Line) -> SendLine:
    return SendLine(article=line.article)


def off(order: Order) -> Off:
    return Off(order=order.order)


reserve = Step(reserve_line, to="stock", compensation=release_line)
wrap = Step(wrap_line, to="wrapping", compensation=unwrap_line)


def order_of(*articles: str, gifts: str = "") -> Order:
    return Order(lines=[Line(article=one, gift=one in gifts) for one in articles])


def saga_of(*steps: Any, **more: Any) -> Saga[Order]:
    return Saga("parcels", start=Order, key=lambda order: order.order, steps=steps, **more)


parcels = saga_of(
    ForEach(lines, [reserve, When(is_gift, then=wrap)], at_once=2),
    Pivot(pay, to="payment"),
    ForEach(lines, Retriable(send_line, to="mail"), name="parcels"),
    compensated=off,
)

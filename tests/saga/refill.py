"""A saga to test repetitions with: pallets are ordered until the shelf is full."""

from typing import Any

from choros.messages import Command, Done, Fact, Message, Reply
from choros.saga.nodes import Pivot, Repeat, Step
from choros.saga.saga import Saga


class Refill(Message):
    shelf: str = "s1"
    wanted: int = 30


class PalletOrdered(Reply):
    number: str = "p"


class Stocked(Reply):
    on_shelf: int


class Told(Reply):
    pass


class OrderPallet(Command[PalletOrdered], refusals=("none_left",)):
    shelf: str


class CancelPallet(Command[Done]):
    number: str


class PutOnShelf(Command[Stocked], refusals=("broken",)):
    number: str


class TakeOffShelf(Command[Done]):
    on_shelf: int


class Close(Command[Told], refusals=("locked",)):
    on_shelf: int


class Heard(Reply):
    count: int


class Notify(Command[Heard]):
    shelf: str


class ShelfFull(Fact):
    shelf: str


class ShelfAsItWas(Fact):
    shelf: str


def order_pallet(refill: Refill) -> OrderPallet:
    return OrderPallet(shelf=refill.shelf)


def cancel_pallet(order_pallet: PalletOrdered | None) -> CancelPallet:
    return CancelPallet(number=order_pallet.number if order_pallet else "?")


def put_on_shelf(ordered: PalletOrdered) -> PutOnShelf:
    return PutOnShelf(number=ordered.number)


def take_off_shelf(put_on_shelf: Stocked | None) -> TakeOffShelf:
    return TakeOffShelf(on_shelf=put_on_shelf.on_shelf if put_on_shelf else 0)


def is_full(refill: Refill, stocked: Stocked) -> bool:
    return stocked.on_shelf >= refill.wanted


def close(stocked: Stocked) -> Close:
    return Close(on_shelf=stocked.on_shelf)


def notify(refill: Refill) -> Notify:
    return Notify(shelf=refill.shelf)


def all_heard(refill: Refill, heard: Heard) -> bool:
    return heard.count >= refill.wanted


def shelf_full(refill: Refill) -> ShelfFull:
    return ShelfFull(shelf=refill.shelf)


def as_it_was(refill: Refill) -> ShelfAsItWas:
    return ShelfAsItWas(shelf=refill.shelf)


pallet = Step(order_pallet, to="wholesale", compensation=cancel_pallet)
shelve = Step(put_on_shelf, to="store", compensation=take_off_shelf)


def saga_of(*steps: Any, **more: Any) -> Saga[Refill]:
    return Saga("refill", start=Refill, key=lambda refill: refill.shelf, steps=steps, **more)


refill_saga = saga_of(
    Repeat([pallet, shelve], until=is_full, at_most=3, name="fill"),
    Pivot(close, to="store"),
    completed=shelf_full,
    compensated=as_it_was,
)

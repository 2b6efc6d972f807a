"""A saga that may be asked for a change: the address of an order, as long as nothing was sent there."""

from datetime import timedelta
from typing import Any

from choros.errors import Refused
from choros.messages import Command, Done, Fact, Message, Reply, Update
from choros.saga.nodes import Pivot, Retriable, Sleep, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga

ONCE = RetryPolicy(attempts=1)


class Order(Message):
    order: str = "o1"
    street: str = "1 Oak Lane"


class Packed(Reply):
    weight: int = 3


class AddressChanged(Reply):
    extra: int


class Pack(Command[Packed], refusals=("sold_out",)):
    order: str


class Unpack(Command[Done]):
    order: str


class PrintLabel(Command[Done]):
    street: str


class TearLabel(Command[Done]):
    street: str


class Ship(Command[Done], refusals=("lost",)):
    order: str


class Thank(Command[Done]):
    gift: str


class ChangeAddress(Update[AddressChanged]):
    street: str


class AddGift(Update[Done]):
    gift: str


class Delivered(Fact):
    street: str
    gift: str


def pack(order: Order) -> Pack:
    return Pack(order=order.order)


def unpack(order: Order) -> Unpack:
    return Unpack(order=order.order)


def print_label(order: Order, change: ChangeAddress | None) -> PrintLabel:
    return PrintLabel(street=change.street if change else order.street)


def tear_label(order: Order, change: ChangeAddress | None) -> TearLabel:
    return TearLabel(street=change.street if change else order.street)


def ship(order: Order) -> Ship:
    return Ship(order=order.order)


def thank(gift: AddGift | None) -> Thank | None:
    return Thank(gift=gift.gift) if gift else None


def delivered(order: Order, change: ChangeAddress | None, gift: AddGift | None) -> Delivered:
    return Delivered(street=change.street if change else order.street, gift=gift.gift if gift else "")


def delivered_to(order: Order, change: ChangeAddress | None) -> Delivered:
    return Delivered(street=change.street if change else "", gift="")


def change_address(order: Order, change: ChangeAddress, packed: Packed | None) -> AddressChanged:
    if change.street == order.street:
        raise Refused("same_address", "it goes there already")
    if change.street == "?":
        raise LookupError(change.street)
    return AddressChanged(extra=packed.weight if packed else 0)


def moved_to(change: ChangeAddress) -> AddressChanged:
    return AddressChanged(extra=0)


def add_gift(gift: AddGift, change: ChangeAddress | None) -> Done:
    return Done()


STEPS: tuple[Any, ...] = (
    Step(pack, to="store", compensation=unpack, retry=ONCE, undo_retry=ONCE),
    Step(print_label, to="store", compensation=tear_label, retry=ONCE, undo_retry=ONCE),
    Pivot(ship, to="carrier", retry=ONCE),
    Retriable(thank, to="store", retry=ONCE),
)


def number(order: Order) -> str:
    return order.order


def delivery_of(*steps: Any, **more: Any) -> Saga[Order]:
    given: dict[str, Any] = {"updates": (change_address, add_gift), "completed": delivered, "key": number, **more}
    return Saga(given.pop("name", "delivery"), start=Order, steps=steps or STEPS, **given)


delivery = delivery_of()
changing_saga = delivery_of(
    Sleep(timedelta(hours=1)), STEPS[1], STEPS[2], updates=(moved_to,), completed=delivered_to, name="changing"
)
"""A small one, to be explored."""

"""Three ways to carry out one order: all commanded, all choreographed, or the hybrid, with the same services.

Each service has its work once, and two doors to it: a command, and a fact. Which door is used says the declaration.
The last lines compare the declarations: whatever is refused or gives out, the same stands, and the same is told.
"""

import asyncio

from choros import (
    Addresses,
    App,
    Call,
    Choreography,
    Command,
    Done,
    Fact,
    MemoryTransaction,
    Message,
    Pivot,
    Refused,
    Retriable,
    RetryPolicy,
    Saga,
    Service,
    Step,
    running,
)
from choros_verify import parity


class PlaceOrder(Message):
    """What everything starts with."""

    order_id: str


class Charge(Command[Done], refusals=("declined",)):
    """Take the money."""

    order_id: str


class Refund(Command[Done]):
    """Give it back."""

    order_id: str


class Reserve(Command[Done], refusals=("sold_out",)):
    """Hold the goods."""

    order_id: str


class Release(Command[Done]):
    """Put them back."""

    order_id: str


class Ship(Command[Done], refusals=("address_unknown",)):
    """Send the parcel; nothing is undone behind it."""

    order_id: str


class SendMail(Command[Done]):
    """Tell the customer."""

    order_id: str


class Accept(Command[Done]):
    """Write the order down: here a flow begins, and nobody follows it."""

    order_id: str


class About(Fact):
    """Every fact here is about an order."""

    order_id: str


class OrderPlaced(About):
    """The flow begins."""


class Charged(About):
    """The money is there."""


class Declined(About):
    """It is not, and will not be."""


class Refunded(About):
    """It is given back, or never was taken."""


class Reserved(About):
    """The goods are held."""


class SoldOut(About):
    """There are none."""


class Released(About):
    """Nothing is held any more."""


class Shipped(About):
    """The parcel is on its way."""


class AddressUnknown(About):
    """It will never be."""


class OrderCompleted(About):
    """The good end."""


class OrderFailed(About):
    """The bad end: nothing is left of it."""


# --- the services: one piece of work, two doors -------------------------------------------------------------------

payment, inventory, shipping, orders, mails = map(Service, ("payment", "inventory", "shipping", "orders", "mails"))


async def move(db: MemoryTransaction, order_id: str, pieces: int) -> None:
    """One line in the service's own books."""
    await db.put(order_id, await db.get(order_id, 0) + pieces)


async def send_parcel(db: MemoryTransaction, order_id: str, no: Fact | None = None) -> None:
    """What shipping does, whoever asks for it."""
    if order_id == "o2":
        raise Refused("address_unknown", fact=no)
    await move(db, order_id, 1)


@payment.handles(Charge)
async def charge(command: Charge, db: MemoryTransaction) -> Done:
    """By command."""
    await move(db, command.order_id, 1)
    return Done()


@payment.handles(Refund)
async def refund(command: Refund, db: MemoryTransaction) -> Done:
    """By command."""
    await move(db, command.order_id, -1)
    return Done()


@payment.on(OrderPlaced, effect="charge", publishes=(Charged, Declined))
async def charge_placed(placed: OrderPlaced, db: MemoryTransaction) -> Charged:
    """By fact."""
    await move(db, placed.order_id, 1)
    return Charged(order_id=placed.order_id)


@payment.on(SoldOut, Released, undoes="charge", publishes=Refunded)
async def refund_failed(failed: SoldOut | Released, db: MemoryTransaction, call: Call) -> Refunded:
    """By fact; called once, and also where nothing was charged."""
    await move(db, failed.order_id, -1 if call.stands else 0)
    return Refunded(order_id=failed.order_id)


@inventory.handles(Reserve)
async def reserve(command: Reserve, db: MemoryTransaction) -> Done:
    """By command."""
    await move(db, command.order_id, 1)
    return Done()


@inventory.handles(Release)
async def release(command: Release, db: MemoryTransaction) -> Done:
    """By command."""
    await move(db, command.order_id, -1)
    return Done()


@inventory.on(Charged, publishes=(Reserved, SoldOut))
async def reserve_charged(charged: Charged, db: MemoryTransaction) -> Reserved:
    """By fact."""
    await move(db, charged.order_id, 1)
    return Reserved(order_id=charged.order_id)


@inventory.on(AddressUnknown, undoes=Charged, publishes=Released)
async def release_unsent(unknown: AddressUnknown, db: MemoryTransaction, call: Call) -> Released:
    """By fact."""
    await move(db, unknown.order_id, -1 if call.stands else 0)
    return Released(order_id=unknown.order_id)


@shipping.handles(Ship)
async def ship(command: Ship, db: MemoryTransaction) -> Done:
    """By command."""
    await send_parcel(db, command.order_id)
    return Done()


@shipping.on(Reserved, publishes=(Shipped, AddressUnknown))
async def ship_reserved(reserved: Reserved, db: MemoryTransaction) -> Shipped:
    """By fact."""
    await send_parcel(db, reserved.order_id, AddressUnknown(order_id=reserved.order_id))
    return Shipped(order_id=reserved.order_id)


@orders.handles(Accept)
async def accept(command: Accept, db: MemoryTransaction) -> Done:
    """By command."""
    await move(db, command.order_id, 1)
    return Done()


@orders.on(Shipped, publishes=OrderCompleted)
async def complete(shipped: Shipped, db: MemoryTransaction) -> OrderCompleted:
    """Only the closer says how it ends."""
    return OrderCompleted(order_id=shipped.order_id)


@orders.on(Declined, Refunded, publishes=OrderFailed)
async def fail(over: Declined | Refunded, db: MemoryTransaction) -> OrderFailed:
    """The last undo has been made, or there was nothing to undo."""
    return OrderFailed(order_id=over.order_id)


told = asyncio.Queue[str]()


@mails.handles(SendMail)
async def send_mail(command: SendMail) -> Done:
    """By command."""
    await told.put(f"{command.order_id} OrderCompleted")
    return Done()


@mails.on(OrderCompleted, OrderFailed)
async def send_mail_about(end: OrderCompleted | OrderFailed) -> None:
    """By fact."""
    await told.put(f"{end.order_id} {type(end).__name__}")


# --- the three declarations ---------------------------------------------------------------------------------------


def order_charge(order: PlaceOrder) -> Charge:
    """For payment."""
    return Charge(order_id=order.order_id)


def order_refund(order: PlaceOrder) -> Refund:
    """For payment."""
    return Refund(order_id=order.order_id)


def order_reserve(order: PlaceOrder) -> Reserve:
    """For inventory."""
    return Reserve(order_id=order.order_id)


def order_release(order: PlaceOrder) -> Release:
    """For inventory."""
    return Release(order_id=order.order_id)


def order_ship(order: PlaceOrder) -> Ship:
    """For shipping."""
    return Ship(order_id=order.order_id)


def order_mail(order: PlaceOrder) -> SendMail:
    """For mails."""
    return SendMail(order_id=order.order_id)


def order_accept(order: PlaceOrder) -> Accept:
    """For orders."""
    return Accept(order_id=order.order_id)


def order_placed(order: PlaceOrder) -> OrderPlaced:
    """The start of the flow."""
    return OrderPlaced(order_id=order.order_id)


def order_completed(order: PlaceOrder) -> OrderCompleted:
    """The good end."""
    return OrderCompleted(order_id=order.order_id)


def order_failed(order: PlaceOrder) -> OrderFailed:
    """The bad end."""
    return OrderFailed(order_id=order.order_id)


PARK = RetryPolicy(exhausted="park")  # as a reaction that was tried for the last time
COMMANDED = (
    Step(order_charge, to="payment", compensation=order_refund, retry=PARK),
    Step(order_reserve, to="inventory", compensation=order_release, retry=PARK),
    Pivot(order_ship, to="shipping"),
)

all_commanded = Saga(
    "order",
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(*COMMANDED, Retriable(order_mail, to="mails")),
    compensated=order_failed,
)

hybrid = Saga(
    "order",
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=COMMANDED,
    completed=order_completed,  # from here on by fact
    compensated=order_failed,
)

all_choreographed = Choreography(
    "order-flow",
    start=OrderPlaced,
    key=lambda placed: placed.order_id,
    good=OrderCompleted,
    bad=OrderFailed,
    closer="orders",
    services=(payment, inventory, shipping, orders),
)

checkout = Saga(
    "checkout",
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(Pivot(order_accept, to="orders"),),
    completed=order_placed,
)
SERVICES = (payment, inventory, shipping, orders, mails)
WAYS = {
    "all commanded": (App("commanded", sagas=[all_commanded], services=SERVICES), all_commanded),
    "hybrid": (App("hybrid", sagas=[hybrid], services=SERVICES), hybrid),
    "all choreographed": (
        App("flow", sagas=[checkout], services=SERVICES, choreographies=[all_choreographed]),
        checkout,
    ),
}


async def main() -> None:
    """The same two orders, three times; the address of the second is unknown."""
    for way, (app, starting) in WAYS.items():
        async with running(app, Addresses("memory://", "memory://", "memory://")) as client:
            for order_id in ("o1", "o2"):
                await client.start(starting, PlaceOrder(order_id=order_id))
                print(f"{way}: {await told.get()}")
    compared = parity((WAYS["hybrid"][0], hybrid), (WAYS["all choreographed"][0], all_choreographed))
    print(compared)


if __name__ == "__main__":
    asyncio.run(main())

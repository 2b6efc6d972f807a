"""A late subscriber: it was not there when the facts were published, and handles all of them at its first start.

The broker keeps what is published in a fact log. A service that is declared with `from_start=True` reads the log before
it takes from its own queue, each fact once.
"""

import asyncio
from datetime import timedelta

from choros import Addresses, App, Command, Done, Fact, FactLog, Message, Pivot, Saga, Service, running


class PlaceOrder(Message):
    """What the saga starts with."""

    order: str


class SendParcel(Command[Done]):
    """An order to the parcel service."""

    order: str


class OrderSent(Fact):
    """What everybody may hear."""

    order: str


def send_parcel(start: PlaceOrder) -> SendParcel:
    """The only step."""
    return SendParcel(order=start.order)


def order_sent(start: PlaceOrder) -> OrderSent:
    """Published at the end, to nobody in particular."""
    return OrderSent(order=start.order)


orders = Saga(
    "order",
    start=PlaceOrder,
    key=lambda start: start.order,
    steps=(Pivot(send_parcel, to="parcels"),),
    completed=order_sent,
)
parcels, statistics = Service("parcels"), Service("statistics", from_start=True)
heard = asyncio.Queue[OrderSent]()


@parcels.handles(SendParcel)
async def send(command: SendParcel) -> Done:
    """Carries it out."""
    return Done()


@statistics.on(OrderSent)
async def count(fact: OrderSent) -> None:
    """Owes nobody an answer."""
    heard.put_nowait(fact)


log = FactLog(max_age=timedelta(days=30))
first_year = App("shop", sagas=[orders], services=[parcels], fact_log=log)
second_year = App("shop", sagas=[orders], services=[parcels, statistics], fact_log=log)


async def main() -> None:
    """The shop without statistics, and the same shop with them, on the same broker."""
    addresses = Addresses("memory://the-shop", "memory://", "memory://")  # of one name: it outlives the first shop
    async with running(first_year, addresses) as client:
        for order in ("o1", "o2", "o3"):
            print(order, (await client.run(orders, PlaceOrder(order=order))).status)
    async with running(second_year, addresses) as client:
        print("o4", (await client.run(orders, PlaceOrder(order="o4"))).status)
        for number in (1, 2, 3, 4):
            print(f"statistics: {number} sent, the last was {(await heard.get()).order}")


if __name__ == "__main__":
    asyncio.run(main())

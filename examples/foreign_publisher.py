"""A foreign publisher: an old cash register that has never heard of choros tells what it has sold, and a subscriber
hears of it as of the shop's own sales. The register has nothing but aio-pika and docs/protocol.md.

    AMQP_URL=amqp://guest:guest@127.0.0.1:5672/ python examples/foreign_publisher.py

What it declares on the broker stays there: a few exchanges and queues that begin with `market.`
"""

import asyncio
import json
import os
import uuid
from datetime import UTC, datetime

import aio_pika

from choros import Addresses, App, Command, Done, Fact, Message, Pivot, Saga, Service, running


class Order(Message):
    """What the shop's own saga starts with."""

    order: str


class Pack(Command[Done]):
    """An order to the warehouse."""

    order: str


class Sold(Fact, name="market.sold"):
    """What both tell."""

    order: str


def pack(start: Order) -> Pack:
    """The only step."""
    return Pack(order=start.order)


def sold(start: Order) -> Sold:
    """Published at the end."""
    return Sold(order=start.order)


sale = Saga("sale", start=Order, key=lambda start: start.order, steps=(Pivot(pack, to="warehouse"),), completed=sold)
warehouse, books = Service("warehouse"), Service("books")
told = asyncio.Queue[str]()


@warehouse.handles(Pack)
async def put_into_a_box(command: Pack) -> Done:
    """Carries it out."""
    return Done()


@books.on(Sold)
async def enter(fact: Sold) -> None:
    """Whoever has published it."""
    told.put_nowait(fact.order)


app = App("market", sagas=[sale], services=[warehouse, books])


async def cash_register(url: str, namespace: str) -> None:
    """Publishes one fact, as `/<namespace>/register`; it would be the same in any other language."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()  # with publisher confirms
        everybody = await channel.declare_exchange(f"{namespace}.facts", "fanout", durable=True)
        own = await channel.declare_exchange(f"{namespace}.register.facts", "fanout", durable=True)
        await everybody.bind(own)  # what comes to the register's exchange goes on to everybody
        attributes: dict[str, str | int] = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "sagakind": "fact",
            "type": "market.sold.v1",
            "source": f"/{namespace}/register",
            "time": datetime.now(UTC).isoformat(),
            "factstream": f"roll-{uuid.uuid4().hex}",  # with source and factseq the identity of the fact
            "factseq": 1,
        }
        message = aio_pika.Message(
            json.dumps({"order": "r1", "clerk": "Argos"}).encode(),  # what nobody knows is passed over
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers={f"cloudEvents_{name}": value for name, value in attributes.items()},
        )
        await own.publish(message, routing_key="market.sold.v1")


async def main() -> None:
    """One sale by the saga, and one by the register."""
    shop = app.within(os.environ.get("CHOROS_NAMESPACE", app.namespace))
    addresses = Addresses(os.environ["AMQP_URL"], "memory://", "memory://")
    async with running(shop, addresses) as client:
        await client.run(sale, Order(order="o1"))
        print("the shop has sold", await told.get())
        await cash_register(addresses.broker, shop.namespace)
        print("the register has sold", await told.get())


if __name__ == "__main__":
    asyncio.run(main())

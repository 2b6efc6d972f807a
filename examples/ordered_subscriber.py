"""An ordered subscriber: of one saga it never handles an earlier fact after a later one.

Here it fails at the first fact, and tries it again after a second. Meanwhile the later facts of that saga wait, and
those of other sagas go on.
"""

import asyncio
import logging

from choros import Addresses, App, Command, Done, Fact, Message, Pivot, Publish, Saga, Service, running


class SendParcel(Message):
    """What the saga starts with."""

    parcel: str


class Load(Command[Done]):
    """An order to the carrier."""

    parcel: str


class Loaded(Fact):
    """The first fact of each saga."""

    parcel: str


class OnTheWay(Fact):
    """The second."""

    parcel: str


class Delivered(Fact):
    """The third."""

    parcel: str


def load(start: SendParcel) -> Load:
    """The only step that is commanded."""
    return Load(parcel=start.parcel)


def loaded(start: SendParcel) -> Loaded:
    """Published once the step is done."""
    return Loaded(parcel=start.parcel)


def on_the_way(start: SendParcel) -> OnTheWay:
    """Published next."""
    return OnTheWay(parcel=start.parcel)


def delivered(start: SendParcel) -> Delivered:
    """Published at the end."""
    return Delivered(parcel=start.parcel)


delivery = Saga(
    "delivery",
    start=SendParcel,
    key=lambda start: start.parcel,
    steps=(Pivot(load, to="carrier"), Publish(loaded), Publish(on_the_way)),
    completed=delivered,
)
carrier, tracking = Service("carrier"), Service("tracking", ordered=True)
told = asyncio.Queue[str]()
hiccups = ["the page cannot be written"]


@carrier.handles(Load)
async def take(command: Load) -> Done:
    """Carries it out."""
    return Done()


@tracking.on(Loaded, OnTheWay, Delivered)
async def write_page(fact: Loaded | OnTheWay | Delivered) -> None:
    """What it raises is tried again, in its place."""
    if fact.parcel == "A" and hiccups:
        raise RuntimeError(hiccups.pop())
    told.put_nowait(f"{fact.parcel}: {type(fact).__name__}")


app = App("post", sagas=[delivery], services=[carrier, tracking])


async def main() -> None:
    """Two parcels; the page of the first has a hiccup."""
    logging.getLogger("choros").setLevel(logging.CRITICAL)  # it logs each failure, with its traceback
    async with running(app, Addresses("memory://", "memory://", "memory://")) as client:
        for parcel in ("A", "B"):
            await client.run(delivery, SendParcel(parcel=parcel))
        for _ in range(6):
            print(await told.get())


if __name__ == "__main__":
    asyncio.run(main())

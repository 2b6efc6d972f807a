"""A client that starts two sagas under one lock and cancels the first: `python -m tests.fault_cases.locking_up`.

The environment says the rest: CHOROS_STORE, CHOROS_NAMESPACE, CHOROS_FAILPOINT, and CHOROS_DOOMED, which of its stores
passes failpoints: `sagas`, or `locks`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from datetime import timedelta

from choros import Addresses, App, Client, Command, Done, Lock, Message, Pivot, Saga, Service, Signal, Wait
from choros.roles.addresses import connected, opened_locks, opened_store
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_store

LONG = timedelta(hours=1)


class Change(Message):
    number: int


class Approved(Signal):
    pass


class Book(Command[Done]):
    number: int


def book(change: Change) -> Book:
    return Book(number=change.number)


def locking_app(namespace: str) -> App:
    """Changes of one customer, each of which waits to be approved."""
    saga = Saga(
        "change",
        start=Change,
        key=lambda change: str(change.number),
        lock=Lock("customer", key=lambda _: "7", within=LONG),
        steps=(Wait(Approved, within=LONG), Pivot(book, to="books")),
    )
    return App(namespace, sagas=[saga], services=[Service("books", commands=(Book,))])


async def run() -> None:
    """Until it is killed; it waits for what it has begun, or nothing would be left to be killed in."""
    app = locking_app(os.environ["CHOROS_NAMESPACE"])
    addresses = Addresses("memory://", os.environ["CHOROS_STORE"], "memory://")
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "client"))
        stores = {
            "sagas": await stack.enter_async_context(opened_store(addresses, app)),
            "locks": await stack.enter_async_context(opened_locks(addresses, app)),
        }
        doomed = os.environ["CHOROS_DOOMED"]
        stores[doomed] = doomed_store(stores[doomed], Failpoint(os.environ["CHOROS_FAILPOINT"]))
        client = Client(app, store=stores["sagas"], transport=transport, locks=stores["locks"])
        async with client:
            await _changes(app, client)


async def _changes(app: App, client: Client) -> None:
    saga = app.saga("change")
    first = await client.start(saga, Change(number=1))
    while (await client.show(first)).instance.queued:
        await asyncio.sleep(0.01)
    second = await client.start(saga, Change(number=2))
    while not (lock := (await client.show(second)).instance.lock) or not lock.holder:
        await asyncio.sleep(0.01)
    await client.cancel(first)
    while (await client.show(second)).instance.queued:
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    configure_logging("locking-up")
    asyncio.run(run())

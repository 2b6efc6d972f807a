"""Producers that use a client of their own: their events are handled once, and begin a saga, on a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from choros import (
    Addresses,
    App,
    Command,
    Done,
    Fact,
    FactStart,
    ForeignFacts,
    Message,
    Pivot,
    Saga,
    Service,
    SqliteTransaction,
    running,
)
from tests.end_to_end.shop import remove
from tests.facts.stage import eventually

pytestmark = pytest.mark.servers


class Paid(Fact, name="foreign.paid"):
    invoice: str


class Opening(Message, name="foreign.opening"):
    invoice: str


class Open(Command[Done], name="foreign.open"):
    invoice: str


def open_it(opening: Opening) -> Open:
    return Open(invoice=opening.invoice)


def begin(paid: Paid) -> Opening:
    return Opening(invoice=paid.invoice)


opening = Saga("opening", start=Opening, key=lambda start: start.invoice, steps=(Pivot(open_it, to="accounts"),))
KIND = "com.example.invoice.paid"


def application(namespace: str, exchange: str, opened: list[str], booked: list[str]) -> App:
    accounts, ledger = Service("accounts"), Service("ledger")

    @accounts.handles(Open)
    async def carry_out(command: Open) -> Done:
        opened.append(command.invoice)
        return Done()

    @ledger.on(Paid)
    async def book(paid: Paid, db: SqliteTransaction) -> None:
        booked.append(paid.invoice)

    return App(
        namespace,
        sagas=[opening],
        services=[accounts, ledger],
        starts=[FactStart(opening, on=Paid, start=begin)],
        foreign=[ForeignFacts("billing", exchange=exchange, events={KIND: Paid})],
    )


def structured(number: int) -> aio_pika.Message:
    event = {"specversion": "1.0", "id": f"e{number}", "source": "/billing", "type": KIND}
    body = json.dumps(event | {"data": {"invoice": f"i{number}"}}).encode()
    return aio_pika.Message(body, content_type="application/cloudevents+json")


def binary(number: int) -> aio_pika.Message:
    headers: Any = {"specversion": "1.0", "id": f"e{number}", "source": "/billing", "type": KIND}
    named = {f"cloudEvents:{name}": value for name, value in headers.items()}
    return aio_pika.Message(json.dumps({"invoice": f"i{number}"}).encode(), headers=named)


async def test_what_they_publish_is_booked_once_and_begins_one_saga(
    amqp_url: str, namespace: str, tmp_path: Path
) -> None:
    opened, booked, theirs = list[str](), list[str](), f"{namespace}-billing"
    app = application(namespace, theirs, opened, booked)
    addresses = Addresses(amqp_url, "memory://", f"sqlite:///{tmp_path}/{{service}}.db")
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(theirs, "topic", durable=True)
        async with running(app, addresses):
            for message in (structured(1), binary(1), binary(2), structured(2), aio_pika.Message(b"rubbish")):
                await exchange.publish(message, "invoice.paid")
            await eventually("both are opened", lambda: sorted(opened) == ["i1", "i2"])
            await eventually("both are booked", lambda: sorted(booked) == ["i1", "i2"])
            parked = await channel.declare_queue(f"{namespace}.facts.foreign.billing.dead", passive=True)
            letters = list[Any]()

            async def look() -> bool:
                if (letter := await parked.get(fail=False)) is not None:
                    letters.append(letter)
                return bool(letters)

            await eventually("the rubbish is parked", look)
            assert str(letters[0].headers["x-choros-reason"]).startswith("The message is no CloudEvent")
        await channel.exchange_delete(theirs)
    await remove(amqp_url, app.topology)

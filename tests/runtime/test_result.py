"""What a saga came to, as a client is told it, and a person."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from choros import (
    Addresses,
    App,
    Command,
    DeclaredOtherwise,
    Message,
    Outcome,
    Pivot,
    Refused,
    Reply,
    Saga,
    Service,
    cli,
    running,
)
from choros.runtime.orchestrator.recognition import recognise
from tests.captured import capture_logs


class Order(Message):
    order_id: str


class Parcel(Reply):
    parcel: str


class Ship(Command[Parcel], refusals=("no_such_address",)):
    order_id: str


class Shipped(Message):
    order_id: str
    parcel: str


class ShippedAnew(Message, name="shipped"):
    """As it is declared by somebody who forgot to give it, and the saga, a new version."""

    carrier: str


def ship(order: Order) -> Ship:
    return Ship(order_id=order.order_id)


def shipped(order: Order, parcel: Parcel) -> Shipped:
    return Shipped(order_id=order.order_id, parcel=parcel.parcel)


def shipped_anew(order: Order, parcel: Parcel) -> ShippedAnew:
    return ShippedAnew(carrier=parcel.parcel + order.order_id)


def saga_of(version: int = 1) -> Saga[Order, Shipped]:
    return Saga(
        "order", version=version, start=Order, key=lambda order: order.order_id, result=shipped,
        steps=(Pivot(ship, to="shipping"),),
    )  # fmt: skip


post = Service("shipping")


@post.handles(Ship)
async def send(command: Ship) -> Parcel:
    if command.order_id == "nowhere":
        raise Refused("no_such_address")
    return Parcel(parcel=f"x-{command.order_id}")


SAGA = saga_of()
app = App("shop", sagas=[SAGA], services=[post])
ANEW = Saga("order", start=Order, key=lambda order: order.order_id, steps=SAGA.steps, result=shipped_anew)
O1 = Shipped(order_id="o1", parcel="x-o1")


async def test_whoever_runs_a_saga_or_waits_for_it_is_told_what_it_came_to() -> None:
    async with running(app) as client:
        outcome: Outcome[Shipped] = await client.run(SAGA, Order(order_id="o1"))
        assert outcome.result == O1
        again = await client.run(SAGA, Order(order_id="o1"))
        assert (again.saga_id, again.result) == (outcome.saga_id, O1)
        assert (await client.wait(outcome.saga_id)).result == O1
        refused = await client.run(SAGA, Order(order_id="nowhere"))
        assert (refused.status, refused.result) == ("compensated", None)


async def test_it_is_read_by_the_declaration_of_its_version_if_there_is_one(tmp_path: Path) -> None:
    there = Addresses("memory://", f"sqlite:///{tmp_path}/sagas.db", "memory://")
    async with running(app, there) as client:
        saga_id = (await client.run(SAGA, Order(order_id="o1"))).saga_id
    for other, result in ((saga_of(version=2), None), (ANEW, None), (saga_of(), O1)):
        async with running(App("shop", sagas=[other], services=[post]), there) as client:
            assert (await client.outcome(saga_id)).result == result


async def test_a_worker_whose_classes_cannot_read_it_decides_nothing(tmp_path: Path) -> None:
    there = Addresses("memory://", f"sqlite:///{tmp_path}/sagas.db", "memory://")
    async with running(app, there) as client:
        record = (await client.show((await client.run(SAGA, Order(order_id="o1"))).saga_id)).record
    assert recognise(app.sagas, record)[1].result
    unlike = replace(record, fingerprint=ANEW.fingerprint.hash)
    with pytest.raises(DeclaredOtherwise, match="cannot read what is stored"):
        recognise({("order", 1): ANEW}, unlike)


async def both(store: str) -> None:
    async with running(app, Addresses("memory://", store, "memory://")) as client:
        await client.run(SAGA, Order(order_id="o1"))
        await client.run(SAGA, Order(order_id="nowhere"))


def test_show_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"sqlite:///{tmp_path}/sagas.db"
    asyncio.run(both(store))
    shown = {}
    for key in ("o1", "nowhere"):
        for output in ("table", "json"):
            monkeypatch.setattr(sys, "argv", ["choros", "saga", "show", __name__, key, "--store", store, "-o", output])
            with capture_logs(), pytest.raises(SystemExit):
                cli.main()
            shown[key, output] = capsys.readouterr().out
    assert 'result: {"order_id":"o1","parcel":"x-o1"}' in shown["o1", "table"].splitlines()
    assert json.loads(shown["o1", "json"])["result"] == {"order_id": "o1", "parcel": "x-o1"}
    assert "result" not in shown["nowhere", "table"]
    assert json.loads(shown["nowhere", "json"])["result"] is None

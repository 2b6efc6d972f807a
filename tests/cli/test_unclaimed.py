"""`choros saga unclaimed`: what stands of sagas that a store has lost, as after it was set back to a backup."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from choros import Addresses, Client, running
from choros.roles.loading import load_app
from tests.cli.test_cli import Choros, choros
from tests.private_postgresql import find_postgresql
from tests.store.conftest import opened, postgres_schema

__all__ = ["choros", "opened", "postgres_schema"]

SHOP = """
from choros import App, Command, Done, Message, Pivot, Refused, Saga, Service, SqliteTransaction, Step


class Place(Message):
    order: str


class Charge(Command[Done]):
    order: str


class Refund(Command[Done]):
    order: str


class Ship(Command[Done], refusals=("damaged",)):
    order: str


def charge(place: Place) -> Charge:
    return Charge(order=place.order)


def refund(place: Place) -> Refund:
    return Refund(order=place.order)


def ship(place: Place) -> Ship:
    return Ship(order=place.order)


saga = Saga(
    "order", start=Place, key=lambda place: place.order,
    steps=(Step(charge, to="payment", compensation=refund), Pivot(ship, to="shipping")),
)
payment, shipping = Service("payment"), Service("shipping")


@payment.prepares
async def tables(db: SqliteTransaction) -> None:
    await db.execute("CREATE TABLE IF NOT EXISTS charge (id TEXT)")


@payment.handles(Charge)
async def take(command: Charge, db: SqliteTransaction) -> Done:
    await db.execute("INSERT INTO charge VALUES (?)", (command.order,))
    return Done()


@payment.handles(Refund)
async def give_back(command: Refund, db: SqliteTransaction) -> Done:
    await db.execute("DELETE FROM charge WHERE id = ?", (command.order,))
    return Done()


@shipping.handles(Ship)
async def send(command: Ship, db: SqliteTransaction) -> Done:
    if command.order == "damaged":
        raise Refused("damaged")
    return Done()


app = App("kiosk", sagas=[saga], services=[payment, shipping])
"""
DATABASE = "sqlite:///{service}.db"


@pytest.fixture
def kiosk(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "kiosk.py").write_text(SHOP)
    monkeypatch.delitem(sys.modules, "kiosk", raising=False)
    return "kiosk:app"


def charged() -> list[str]:
    with closing(sqlite3.connect("payment.db")) as book:
        return [order for (order,) in book.execute("SELECT id FROM charge ORDER BY 1")]


async def ordered(client: Client, *orders: str) -> list[str]:
    saga = load_app("kiosk:app").saga("order")
    return [(await client.run(saga, saga.start(order=order))).status for order in orders]


async def set_back(store: str, keep: Callable[[], None], restore: Callable[[], None]) -> None:
    """One order is in the backup, two are not, the second of which is undone; the store is set back under way."""
    async with running(load_app("kiosk:app"), Addresses("memory://", store, DATABASE)) as client:
        assert await ordered(client, "kept") == ["completed"]
        await asyncio.to_thread(keep)
        assert await ordered(client, "lost", "damaged") == ["completed", "compensated"]
        await asyncio.to_thread(restore)
        assert await ordered(client, "kept", "later") == ["completed", "completed"]


async def placed_again(store: str) -> None:
    async with running(load_app("kiosk:app"), Addresses("memory://", store, DATABASE)) as client:
        assert await ordered(client, "lost") == ["completed"]


def found(choros: Choros, store: str) -> tuple[int, list[tuple[str, str, str]]]:
    said = choros(
        "saga", "unclaimed", "kiosk:app", "--since", "1d", "--store", store, "--database", DATABASE, "-o", "json"
    )
    rows = json.loads(said.out)
    assert len({row["saga_id"] for row in rows}) <= 1
    return said.code, [(row["service"], row["step"], row["state"]) for row in rows]


def judge(choros: Choros, store: str) -> None:
    """What stands of the lost one is named; started again it is the same saga, and nothing is done twice."""
    assert charged() == ["kept", "later", "lost"]
    assert found(choros, store) == (1, [("payment", "charge", "done"), ("shipping", "ship", "done")])
    asyncio.run(placed_again(store))
    assert (found(choros, store), charged()) == ((0, []), ["kept", "later", "lost"])


def test_what_a_store_that_was_set_back_does_not_know_is_named(kiosk: str, choros: Choros) -> None:
    def copied(source: str, target: str) -> None:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)

    keep, restore = (lambda: copied("sagas.db", "backup.db")), (lambda: copied("backup.db", "sagas.db"))
    asyncio.run(set_back("sqlite:///sagas.db", keep, restore))
    judge(choros, "sqlite:///sagas.db")


@pytest.mark.servers
def test_so_it_is_where_a_dump_of_postgresql_is_restored_under_way(
    kiosk: str, choros: Choros, postgres_url: str, namespace: str
) -> None:
    url = f"{postgres_url.rpartition('/')[0]}/{namespace}"

    def told(name: str, *arguments: str) -> None:
        program = find_postgresql(name)
        assert program is not None
        subprocess.run([program, *arguments], check=True, capture_output=True)

    async def make(statement: str) -> None:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(make(f'CREATE DATABASE "{namespace}"'))
    clean = ("--clean", "--if-exists", "--single-transaction")
    keep, restore = (
        lambda: told("pg_dump", "-Fc", "-f", "sagas.dump", url),
        lambda: told("pg_restore", *clean, "-d", url, "sagas.dump"),
    )
    asyncio.run(set_back(url, keep, restore))
    judge(choros, url)
    asyncio.run(make(f'DROP DATABASE "{namespace}" WITH (FORCE)'))

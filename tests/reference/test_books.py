"""The books balance when everything is right, and say what leaks when it is not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from choros.errors import UsageError
from choros.roles.addresses import database_at
from reference_services.analytics.service import analytics_service
from reference_services.books import Books, read_books
from reference_services.contracts import ArticlePieces, ChargePayment, RefundPayment, ReleaseInventory, ReserveInventory
from reference_services.demo.postgresql import PARTS, schemas
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.payment.service import payment_service
from reference_services.shipping.carrier.ledger import CarrierLedger, Parcel
from reference_services.tables import tables_at
from tests.reference.conftest import Desk, confirmed, order
from tests.reference.test_shipping import order_with

GOOD = order(order_with(), ("A1", 2, 150), ("A1", 1, 100), ("B2", 1, 50))
UNDONE = order(order_with("damaged_in_transit"), ("A1", 5, 100))
STATUSES = {GOOD.order_id: "completed", UNDONE.order_id: "compensated"}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """What the services leave behind after a completed and a compensated order."""
    await _trade(f"sqlite:///{tmp_path}/{{service}}.db")
    return tmp_path


async def _trade(place: str) -> None:
    await _pay(place)
    with ExitStack() as books:
        stock = Stock(place.format(service="stock"), lambda article: 0)
        carrier, mails = CarrierLedger(place.format(service="carrier")), SentMails(place.format(service="mails"))
        for book in (stock, carrier, mails):
            books.callback(book.close)
        stock.deliver({"A1": 100, "B2": 100})
        inventory = inventory_service(stock)
        async with opened(place, "inventory") as desk:
            for of in (GOOD, UNDONE):
                lines = tuple(ArticlePieces(article=line.article, pieces=line.quantity) for line in of.lines)
                await desk.give(inventory, ReserveInventory(order_id=of.order_id, lines=lines), f"{of.order_id}:do")
                carrier.book(of.order_id, Parcel(of.order_id, of.country))
                mails.add(f"<{of.order_id}>", of.order_id, "confirmed" if of is GOOD else "rejected")
            await desk.give(inventory, ReleaseInventory(order_id=UNDONE.order_id), "undo")


async def _pay(place: str) -> None:
    payment, analytics = payment_service(), analytics_service()
    async with opened(place, "payment") as desk:
        await desk.prepare(payment)
        for of in (GOOD, UNDONE):
            charge = ChargePayment(order_id=of.order_id, customer=of.customer, amount=of.total)
            await desk.give(payment, charge, f"{of.order_id}:do")
        await desk.give(payment, RefundPayment(order_id=UNDONE.order_id), "undo")
    async with opened(place, "analytics") as desk:
        await desk.prepare(analytics)
        await desk.give(analytics, confirmed(GOOD))


@asynccontextmanager
async def opened(place: str, service: str) -> AsyncIterator[Desk]:
    database = database_at(place.format(service=service))
    await database.open()
    try:
        yield Desk(database)
    finally:
        await database.close()


def read(place: Path | str) -> Books:
    return read_books(place, [GOOD, UNDONE], STATUSES)


def test_they_balance(folder: Path) -> None:
    holds(read(folder))


@pytest.mark.servers
async def test_they_balance_in_postgresql(postgres_url: str) -> None:
    async with schemas(postgres_url, PARTS) as place:
        with pytest.raises(UsageError, match="There is no database postgresql"):
            await asyncio.to_thread(read, place + "{service}")
        await _trade(place + "{service}")
        holds(await asyncio.to_thread(read, place + "{service}"))
        with closing(tables_at(f"{place}stock")) as tables, tables.opened() as book:
            book.execute("UPDATE stock SET free = 0 WHERE article = 'B2'")
        assert any("not add up to what is free: B2" in leak for leak in read(place + "{service}").leaks)


def holds(books: Books) -> None:
    assert books.leaks == []
    assert books == Books(
        completed=1,
        compensated=1,
        sold_pence=450,
        charged_pence=950,
        refunded_pence=500,
        ledger_entries=3,
        held_pieces=9,
        released_pieces=5,
        parcels_delivered=1,
        parcels_refused=1,
        mails=2,
        revenue_pence=450,
    )


@pytest.mark.parametrize(
    ("file", "statement", "leak"),
    [
        ("payment.db", "UPDATE account SET balance_pence = balance_pence + 1 WHERE name = 'sales'", "sum to 0.01 GBP"),
        ("payment.db", "UPDATE account SET balance_pence = 0", "do not add up to their balance: receivable:c1, sales"),
        ("payment.db", "DELETE FROM refund", f"another sum than they cost: {UNDONE.order_id}"),
        ("stock.db", "UPDATE stock SET free = free - 1 WHERE article = 'B2'", "not add up to what is free: B2"),
        ("stock.db", "UPDATE reservation SET state = 'holding'", "half reserved"),
        ("stock.db", "INSERT INTO movement (article, kind, pieces) VALUES ('B2', 'held', 1)", "as were sold: B2"),
        ("carrier.db", "UPDATE booking SET outcome = 'delivered'", f"too many or too few: {UNDONE.order_id}"),
        ("carrier.db", "DELETE FROM booking", f"too many or too few: {GOOD.order_id}"),
        ("mails.db", "UPDATE mail SET kind = 'confirmed'", f"wrong news: {UNDONE.order_id}"),
        ("analytics.db", "UPDATE revenue SET amount_pence = 1", "not what was sold: France on 2010-12-01"),
        ("analytics.db", "DELETE FROM revenue", "not what was sold: France on 2010-12-01"),
    ],
)
def test_a_leak_is_named(folder: Path, file: str, statement: str, leak: str) -> None:
    with closing(sqlite3.connect(folder / file)) as database, database:
        database.execute(statement)
    assert any(leak in found for found in read(folder).leaks), read(folder).leaks


def test_an_order_that_has_not_ended_is_a_leak(folder: Path) -> None:
    books = read_books(folder, [GOOD, UNDONE], {**STATUSES, GOOD.order_id: "parked"})
    assert f"Neither completed nor compensated: {GOOD.order_id}." in books.leaks


def test_a_missing_database_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no database .*payment.db"):
        read(tmp_path)

"""Orders compete for the last pieces, in the whole shop: whoever wins, the books balance."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from choros import Addresses, App, Outcome, running
from reference_services.analytics.service import analytics_service
from reference_services.books import Books, read_books
from reference_services.contracts import OrderLine, PlaceOrder
from reference_services.demo.mails import caught_mails
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.notifications.smtp import SmtpMailer
from reference_services.order.saga import order_saga
from reference_services.payment.service import payment_service
from reference_services.shipping.carrier.fate import fate_of
from reference_services.shipping.carrier.ledger import CarrierLedger
from reference_services.shipping.carriers import LocalCarrier
from reference_services.shipping.service import shipping_service
from tests.end_to_end.shop import until

PIECES = 7


def shop(folder: Path, smtp: str) -> App:
    """The whole shop, with so many pieces of every article."""
    services = (
        payment_service(),
        inventory_service(Stock(folder / "stock.db", lambda article: PIECES)),
        shipping_service(LocalCarrier(CarrierLedger(folder / "carrier.db"))),
        notifications_service(SmtpMailer.at(smtp), SentMails(folder / "mails.db")),
        analytics_service(),
    )
    return App("shop", name="order", sagas=(order_saga,), services=services)


def order(order_id: str, pieces: dict[str, int]) -> PlaceOrder:
    lines = tuple(OrderLine(article=article, quantity=count, unit_price=100) for article, count in pieces.items())
    return PlaceOrder(order_id=order_id, customer="c1", country="France", placed_at="2010-12-01T08:00:00", lines=lines)


def ids(count: int, outcome: str) -> list[str]:
    """Order ids whose parcel meets this fate at once."""
    names = (f"last-{number}" for number in range(10_000))
    fitting = (n for n in names if (f := fate_of(n)).outcome == outcome and not f.failing_tries and not f.seconds)
    return [order_id for order_id, _ in zip(fitting, range(count), strict=False)]


async def compete(folder: Path, orders: list[PlaceOrder]) -> tuple[Counter[str], Books]:
    """Place all at once; returns how they ended, and the books."""
    addresses = Addresses("memory://last", f"sqlite:///{folder}/sagas.db", f"sqlite:///{folder}/{{service}}.db")
    statuses: dict[str, str] = {}
    async with caught_mails(folder) as smtp, running(shop(folder, smtp), addresses) as client:

        async def place(one: PlaceOrder) -> Outcome:
            return await client.run(order_saga, one, timeout=timedelta(seconds=50))

        outcomes = await asyncio.gather(*map(place, orders))
        statuses = {one.order_id: outcome.status for one, outcome in zip(orders, outcomes, strict=True)}

        async def balanced() -> Books | None:
            books = await asyncio.to_thread(read_books, folder, orders, statuses)
            return books if books.balanced else None

        books: Books = await until("the books balance", balanced)
    return Counter(f"{o.status} {o.failure.code if o.failure else ''}".strip() for o in outcomes), books


def free(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(folder / "stock.db")) as stock:
        return dict(stock.execute("SELECT article, free FROM stock").fetchall())


@pytest.mark.slow
async def test_exactly_as_many_orders_win_as_there_are_pieces(tmp_path: Path) -> None:
    orders = [order(order_id, {"11111": 1, "22222": 1}) for order_id in ids(20, "delivered")]
    ended, books = await compete(tmp_path, orders)
    assert ended == {"completed": PIECES, "compensated out_of_stock": 20 - PIECES}
    assert free(tmp_path) == {"11111": 0, "22222": 0}
    assert books.sold_pence == PIECES * 200


@pytest.mark.slow
async def test_orders_that_hold_and_give_back_each_other_s_pieces(tmp_path: Path) -> None:
    """Lines in crossing order, local compensations, and parcels that are damaged while others wait for their pieces."""
    articles = ("11111", "22222", "33333")
    orders = [
        order(order_id, {articles[n % 3]: 1 + n % 2, articles[(n + 1) % 3]: 2})
        for n, order_id in enumerate([*ids(20, "delivered"), *ids(6, "damaged_in_transit")])
    ]
    ended, books = await compete(tmp_path, orders)
    assert ended["completed"] > 0
    assert ended["compensated out_of_stock"] > 0
    assert ended.total() == len(orders)
    sold = Counter[str]()
    for article, pieces in free(tmp_path).items():
        assert 0 <= pieces <= PIECES
        sold[article] = PIECES - pieces
    assert sum(sold.values()) == books.held_pieces - books.given_back_pieces - books.released_pieces
    assert books.completed == ended["completed"]

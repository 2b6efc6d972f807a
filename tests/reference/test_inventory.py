"""Inventory: every line of an order is held, or none; and never more than there is."""

import asyncio
import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from choros import Refused
from reference_services.contracts import ArticlePieces, InventoryReleased, ReleaseInventory, ReserveInventory
from reference_services.inventory.catalogue import discontinued, opening_stock
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock, seed_stock
from tests.reference.conftest import Desk

MOVEMENTS = "SELECT article, kind, pieces FROM movement WHERE kind <> 'delivered' ORDER BY id"
FREE = "SELECT article, free FROM stock ORDER BY article"


def nothing(article: str) -> int:
    return 0


def reserve(order_id: str, **pieces: int) -> ReserveInventory:
    lines = tuple(ArticlePieces(article=article, pieces=count) for article, count in pieces.items())
    return ReserveInventory(order_id=order_id, lines=lines)


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as book:
        return book.execute(query).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "stock.db"
    seed_stock(path, {"A1": 10, "B2": 1, "C3": 0})
    return path


async def test_holds_every_line(desk: Desk, path: Path) -> None:
    service = inventory_service(Stock(path, nothing))
    reply = await desk.give(service, reserve("1", A1=3, B2=1), "k:do")
    assert reply.reservation_id == "k:do"
    assert rows(path, FREE) == [("A1", 7), ("B2", 0), ("C3", 0)]


async def test_lines_of_one_article_are_held_together(desk: Desk, path: Path) -> None:
    line = ArticlePieces(article="A1", pieces=5)
    service = inventory_service(Stock(path, nothing))
    await desk.give(service, ReserveInventory(order_id="1", lines=(line, line)))
    assert rows(path, MOVEMENTS) == [("A1", "held", 10)]


async def test_local_compensation_gives_back_what_was_held_before_it_refuses(desk: Desk, path: Path) -> None:
    service = inventory_service(Stock(path, nothing))
    with pytest.raises(Refused) as refused:
        await desk.give(service, reserve("1", A1=3, B2=1, C3=1), "k:do")
    assert refused.value.code == "out_of_stock"
    assert rows(path, FREE) == [("A1", 10), ("B2", 1), ("C3", 0)]
    assert rows(path, MOVEMENTS) == [
        ("A1", "held", 3),
        ("B2", "held", 1),
        ("A1", "given back", 3),
        ("B2", "given back", 1),
    ]


async def test_global_compensation_releases_the_reservation_once(desk: Desk, path: Path) -> None:
    service = inventory_service(Stock(path, nothing))
    await desk.give(service, reserve("1", A1=3), "k:do")
    await desk.give(service, reserve("2", A1=4), "l:do")
    assert await desk.give(service, ReleaseInventory(order_id="1"), "k:undo") == InventoryReleased(pieces=3)
    assert await desk.give(service, ReleaseInventory(order_id="1"), "k:undo") == InventoryReleased(pieces=0)
    assert rows(path, FREE)[0] == ("A1", 6)
    assert rows(path, MOVEMENTS)[-1] == ("A1", "released", 3)


async def test_the_same_key_is_the_same_reservation(desk: Desk, path: Path) -> None:
    service = inventory_service(Stock(path, nothing))
    for _ in range(3):
        await desk.give(service, reserve("1", A1=3), "k:do")
    assert rows(path, FREE)[0] == ("A1", 7)


async def test_the_same_key_is_refused_again_even_if_there_is_enough_by_now(desk: Desk, path: Path) -> None:
    service = inventory_service(Stock(path, nothing))
    await desk.give(service, reserve("1", B2=1), "k:do")
    with pytest.raises(Refused):
        await desk.give(service, reserve("2", B2=1), "l:do")
    await desk.give(service, ReleaseInventory(order_id="1"), "k:undo")
    for call in (desk.give, desk.ask):
        with pytest.raises(Refused):
            await call(service, reserve("2", B2=1), "l:do")


async def test_asking_about_an_unknown_key_answers_none(desk: Desk, path: Path) -> None:
    assert await desk.ask(inventory_service(Stock(path, nothing)), reserve("1", A1=1)) is None


@pytest.mark.parametrize("call", ["give", "ask"])
async def test_a_reservation_broken_off_in_the_middle_is_continued(desk: Desk, path: Path, call: str) -> None:
    with closing(sqlite3.connect(path)) as book, book:  # as a crash leaves it
        book.execute("INSERT INTO reservation VALUES ('k:do', '1', 'holding')")
        book.execute("UPDATE stock SET free = free - 3 WHERE article = 'A1'")
        book.execute("INSERT INTO movement (article, kind, pieces, reservation) VALUES ('A1', 'held', 3, 'k:do')")
    service = inventory_service(Stock(path, nothing))
    await getattr(desk, call)(service, reserve("1", A1=3, B2=1), "k:do")
    assert rows(path, FREE) == [("A1", 7), ("B2", 0), ("C3", 0)]
    assert rows(path, "SELECT state FROM reservation") == [("held",)]


async def test_an_unfinished_reservation_can_be_released_and_then_holds_nothing(desk: Desk, path: Path) -> None:
    with closing(sqlite3.connect(path)) as book, book:
        book.execute("INSERT INTO reservation VALUES ('k:do', '1', 'holding')")
    service = inventory_service(Stock(path, nothing))
    await desk.give(service, ReleaseInventory(order_id="1"), "k:undo")
    await desk.give(service, reserve("1", A1=3), "k:do")  # a thread that was slow
    assert rows(path, FREE)[0] == ("A1", 10)


@pytest.mark.slow
def test_orders_compete_for_the_last_pieces(tmp_path: Path) -> None:
    """Sixteen threads, each with its own stock book on the same file, some of them undone by their saga."""
    path, articles = tmp_path / "stock.db", ["A", "B", "C", "D"]
    seed_stock(path, dict.fromkeys(articles, 25))
    states: Counter[str] = Counter()

    def compete(buyer: int) -> None:
        stock, chance = Stock(path, nothing), random.Random(buyer)
        for number in range(5):
            order_id = f"{buyer}-{number}"
            wanted = {article: chance.randint(1, 4) for article in chance.sample(articles, 3)}
            states[stock.reserve(order_id, order_id, wanted).state] += 1
            if chance.random() < 0.2:
                stock.release(order_id)

    threads = [threading.Thread(target=compete, args=(buyer,)) for buyer in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states["held"] > 0
    assert states["refused"] > 0
    assert states.total() == 80
    books_agree(path)


def books_agree(path: Path) -> None:
    """What is free follows from the movements, nothing is below zero, and only 'held' reservations hold anything."""
    signed = "SELECT article, sum(CASE kind WHEN 'held' THEN -pieces ELSE pieces END) FROM movement GROUP BY article"
    assert sorted(rows(path, signed)) == rows(path, FREE)
    assert all(free >= 0 for _, free in rows(path, FREE))
    net = """SELECT state, sum(CASE kind WHEN 'held' THEN pieces ELSE -pieces END) AS net
        FROM movement JOIN reservation ON key = reservation GROUP BY key"""
    assert all((net > 0) == (state == "held") for state, net in rows(path, net))


async def test_exactly_as_many_orders_win_as_there_are_pieces(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "last.db"
    seed_stock(path, {"A": 5})
    service = inventory_service(Stock(path, nothing))
    calls = [desk.give(service, reserve(str(n), A=1), f"{n}:do") for n in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, Refused) for answer in answers) == 15
    assert rows(path, FREE) == [("A", 0)]
    books_agree(path)


def test_an_unknown_article_is_delivered_as_the_catalogue_says(tmp_path: Path) -> None:
    stock = Stock(tmp_path / "stock.db", opening_stock)
    gone = next(article for article in map(str, range(20000, 30000)) if discontinued(article))
    sold = next(article for article in map(str, range(20000, 30000)) if not discontinued(article))
    assert stock.reserve("a", "1", {sold: 1000}).state == "held"
    assert stock.reserve("b", "2", {gone: 1}).state == "refused"


def test_seeding_twice_changes_nothing(path: Path) -> None:
    seed_stock(path, {"A1": 99})
    assert rows(path, FREE)[0] == ("A1", 10)

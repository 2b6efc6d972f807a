"""The shop's own tables: the same in SQLite and in PostgreSQL, whoever asks for them at once."""

import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from choros import MemoryTransaction, StoreUnreachable, UsageError
from choros.store.memory.barrier import MemoryDatabase
from reference_services.demo.postgresql import schemas
from reference_services.inventory.stock import Stock
from reference_services.payment.service import payment_service
from reference_services.shipping.carrier.ledger import CarrierLedger, CarrierUnavailable, KeyTaken, Parcel
from reference_services.sql import Schema, in_postgresql
from reference_services.tables import tables_at
from tests.reference.conftest import Desk

NOTES = Schema(["CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"], final=["note"])


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/notes.db"
        return
    async with schemas(request.getfixturevalue("postgres_url"), ["notes"]) as of:
        yield f"{of}notes"


@pytest.mark.parametrize("statement", ["UPDATE note SET text = ''", "DELETE FROM note"])
def test_what_is_final_stays(place: str, statement: str) -> None:
    with closing(tables_at(place, NOTES)) as tables:
        with tables.opened() as book:
            book.execute("INSERT INTO note (text) VALUES (?)", ("kept",))
        with pytest.raises(Exception, match="a row of note is never changed or removed"), tables.opened() as book:
            book.execute(statement)
        with tables.opened() as book:
            assert book.execute("SELECT id, text FROM note").fetchall() == [(1, "kept")]


def test_a_transaction_that_an_exception_leaves_is_given_up(place: str) -> None:
    with closing(tables_at(place, NOTES)) as tables:
        with pytest.raises(ZeroDivisionError), tables.opened() as book, book.transaction():
            assert book.execute("INSERT INTO note (text) VALUES ('lost')").rowcount / 0
        with tables.opened() as book:
            assert book.execute("SELECT count(*) FROM note").fetchone() == (0,)


def test_what_one_transaction_reads_no_other_changes(place: str) -> None:
    """Four threads count up, each by what it has read."""

    def count_up() -> None:
        for _ in range(10):
            with tables.opened() as book, book.transaction():
                (highest,) = book.execute("SELECT coalesce(max(id), 0) FROM number").fetchone()
                book.execute("INSERT INTO number VALUES (?)", (highest + 1,))

    with closing(tables_at(place, Schema(["CREATE TABLE IF NOT EXISTS number (id BIGINT NOT NULL)"]))) as tables:
        at_once = [threading.Thread(target=count_up) for _ in range(4)]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
        with tables.opened() as book:
            assert [row[0] for row in book.execute("SELECT id FROM number ORDER BY id")] == list(range(1, 41))


def test_orders_never_hold_more_than_there_is(place: str) -> None:
    states: Counter[str] = Counter()

    def buy(buyer: int) -> None:
        for number in range(4):
            key = f"{buyer}-{number}"
            states[stock.reserve(key, key, {"A": 1, "B": 2}).state] += 1
            if number == 0:
                stock.release(key)

    with closing(Stock(place, lambda article: {"A": 100, "B": 9}[article])) as stock:
        buyers = [threading.Thread(target=buy, args=(buyer,)) for buyer in range(4)]
        for thread in buyers:
            thread.start()
        for thread in buyers:
            thread.join()
        with closing(tables_at(place)) as tables, tables.opened() as book:
            free: dict[str, int] = dict(book.execute("SELECT article, free FROM stock").fetchall())
            kept = book.execute("SELECT count(*) FROM reservation WHERE state = 'held'").fetchone()[0]
    assert free == {"A": 100 - kept, "B": 9 - 2 * kept}
    assert states["held"] >= 4


def test_a_parcel_is_booked_once_under_its_key(place: str) -> None:
    with closing(CarrierLedger(place)) as ledger:
        booked: list[Any] = []
        while not booked:
            try:
                booked.append(ledger.book("k", Parcel("1", "France")))
            except CarrierUnavailable:
                continue
        assert ledger.book("k", Parcel("1", "France")) == booked[0] == ledger.find("k")
        with pytest.raises(KeyTaken):
            ledger.book("k", Parcel("2", "France"))
        assert ledger.find("other") is None


def test_a_server_that_is_away_is_a_sentence() -> None:
    tables = tables_at("postgresql://choros:secret@127.0.0.1:9/shop", NOTES)
    with pytest.raises(StoreUnreachable, match="cannot be used") as away, tables.opened():
        pass
    assert "secret" not in str(away.value)


def test_an_address_that_keeps_no_tables_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="keeps no tables at this address"):
        tables_at("redis://host/0")


async def test_a_database_of_another_kind_is_a_sentence() -> None:
    desk = Desk(MemoryDatabase())
    await desk.database.open()
    (answer,) = await desk.database.run(list(payment_service().preparations))
    assert MemoryTransaction.__name__ in str(getattr(answer, "error", answer))


def test_values_are_numbered_and_words_are_postgresqls() -> None:
    assert in_postgresql("INSERT INTO a VALUES (?, ?)") == "INSERT INTO a VALUES ($1, $2)"
    assert in_postgresql("CREATE TABLE a (n INTEGER NOT NULL) STRICT") == "CREATE TABLE a (n BIGINT NOT NULL)"

"""The books: what the services' own databases say, balanced against what became of the orders.

Nothing here asks a service or the saga store. It opens the databases as an auditor would, each read-only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference_services.contracts import PlaceOrder
from reference_services.tables import Book, tables_at

_MOST_NAMED = 5


@dataclass(slots=True)
class Books:
    """Figures (money in pence), and what does not balance. No leaks, and every order is accounted for."""

    completed: int = 0
    compensated: int = 0
    sold_pence: int = 0
    """The totals of the completed orders."""
    charged_pence: int = 0
    refunded_pence: int = 0
    ledger_entries: int = 0
    ledger_pence: int = 0
    """The sum of all accounts: always zero."""
    held_pieces: int = 0
    given_back_pieces: int = 0
    """The local compensation: released by the inventory service itself, before it refused."""
    released_pieces: int = 0
    """The global compensation: released because the saga was undone."""
    parcels_delivered: int = 0
    parcels_refused: int = 0
    mails: int = 0
    revenue_pence: int = 0
    leaks: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether nothing leaks."""
        return not self.leaks

    def hold(self, true: bool, leak: str) -> None:
        """Note the leak unless this is true."""
        if not true:
            self.leaks.append(leak)


@dataclass(frozen=True, slots=True)
class _Ended:
    """The orders, by how they ended."""

    completed: Mapping[str, PlaceOrder]
    compensated: Mapping[str, PlaceOrder]


def read_books(place: Path | str, orders: Iterable[PlaceOrder], statuses: Mapping[str, str]) -> Books:
    """Balance the databases in this folder, or at this address, in which `{service}` stands for whose they are;
    `statuses` says by order id what the saga says of each of the orders.

    Raises UsageError where a database is missing. Databases that hold more than these orders do not balance.
    """
    books, known = Books(), {order.order_id: order for order in orders}
    ended = _Ended(
        {key: order for key, order in known.items() if statuses.get(key) == "completed"},
        {key: order for key, order in known.items() if statuses.get(key) == "compensated"},
    )
    open_ids = sorted(known.keys() - ended.completed.keys() - ended.compensated.keys())
    books.hold(not open_ids, f"Neither completed nor compensated: {_named(open_ids)}.")
    books.completed, books.compensated = len(ended.completed), len(ended.compensated)
    books.sold_pence = sum(order.total for order in ended.completed.values())
    address = f"sqlite:///{place}/{{service}}.db" if isinstance(place, Path) else place
    for service, read in (
        ("payment", _read_ledger),
        ("stock", _read_stock),
        ("carrier", _read_parcels),
        ("mails", _read_mails),
        ("analytics", _read_revenue),
    ):
        with closing(tables_at(address.replace("{service}", service))) as tables, tables.opened() as book:
            read(book, ended, books)
    return books


def _rows(database: Book, query: str) -> Iterator[Any]:
    yield from database.execute(query)


def _read_ledger(ledger: Book, ended: _Ended, books: Books) -> None:
    accounts: Counter[str] = Counter()
    orders: Counter[str] = Counter()
    for order_id, debit, credit, pence, refund in _rows(ledger, _ENTRIES):
        books.ledger_entries += 1
        accounts[debit] += pence
        accounts[credit] -= pence
        orders[order_id] += -pence if refund else pence
        books.refunded_pence += pence if refund else 0
        books.charged_pence += 0 if refund else pence
    balances = dict(_rows(ledger, "SELECT name, balance_pence FROM account"))
    books.ledger_pence = sum(balances.values())
    books.hold(books.ledger_pence == 0, f"The ledger's accounts sum to {_pounds(books.ledger_pence)}, not to zero.")
    wrong = _differences(accounts, balances)
    books.hold(not wrong, f"Accounts whose entries do not add up to their balance: {_named(wrong)}.")
    wrong = _differences(orders, {key: order.total for key, order in ended.completed.items()})
    books.hold(not wrong, f"Orders charged with another sum than they cost: {_named(wrong)}.")


_ENTRIES = """
SELECT order_id, debit, credit, amount_pence, EXISTS (SELECT 1 FROM refund WHERE refund.entry = entry.id) FROM entry
"""


def _read_stock(stock: Book, ended: _Ended, books: Books) -> None:
    gone: Counter[str] = Counter()
    free: Counter[str] = Counter()
    for article, kind, pieces in _rows(stock, "SELECT article, kind, pieces FROM movement"):
        free[article] += -pieces if kind == "held" else pieces
        gone[article] += {"held": pieces, "delivered": 0}.get(kind, -pieces)
        books.held_pieces += pieces if kind == "held" else 0
        books.given_back_pieces += pieces if kind == "given back" else 0
        books.released_pieces += pieces if kind == "released" else 0
    wrong = _differences(free, dict(_rows(stock, "SELECT article, free FROM stock")))
    books.hold(not wrong, f"Articles whose movements do not add up to what is free: {_named(wrong)}.")
    wrong = _differences(gone, _sold(ended.completed.values()))
    books.hold(not wrong, f"Articles of which not as many pieces are held as were sold: {_named(wrong)}.")
    unfinished = [key for (key,) in _rows(stock, "SELECT order_id FROM reservation WHERE state = 'holding'")]
    books.hold(not unfinished, f"Orders that are half reserved: {_named(unfinished)}.")


def _sold(orders: Iterable[PlaceOrder]) -> Counter[str]:
    """Pieces by article."""
    sold: Counter[str] = Counter()
    for line in (line for order in orders for line in order.lines):
        sold[line.article] += line.quantity
    return sold


def _read_parcels(carrier: Book, ended: _Ended, books: Books) -> None:
    parcels = list(_rows(carrier, "SELECT order_id, outcome FROM booking"))
    delivered = Counter(order_id for order_id, outcome in parcels if outcome == "delivered")
    books.parcels_delivered = delivered.total()
    books.parcels_refused = len(parcels) - books.parcels_delivered
    wrong = _differences(delivered, dict.fromkeys(ended.completed, 1))
    books.hold(not wrong, f"Orders with a parcel too many or too few: {_named(wrong)}.")


def _read_mails(mails: Book, ended: _Ended, books: Books) -> None:
    sent = Counter((order_id, kind) for order_id, kind in _rows(mails, "SELECT order_id, kind FROM mail"))
    books.mails = sent.total()
    expected = {(key, "confirmed"): 1 for key in ended.completed} | {(key, "rejected"): 1 for key in ended.compensated}
    wrong = sorted({order_id for order_id, _ in _differences(sent, expected)})
    books.hold(not wrong, f"Orders with a mail too many, too few or with the wrong news: {_named(wrong)}.")


def _read_revenue(analytics: Book, ended: _Ended, books: Books) -> None:
    rows = _rows(analytics, "SELECT day, country, orders, amount_pence FROM revenue")
    revenue = {(day, country): (orders, pence) for day, country, orders, pence in rows}
    books.revenue_pence = sum(pence for _, pence in revenue.values())
    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for order in ended.completed.values():
        place = order.placed_at[:10], order.country
        orders, pence = expected.get(place, (0, 0))
        expected[place] = orders + 1, pence + order.total
    wrong = [f"{country} on {day}" for day, country in sorted(revenue.keys() | expected.keys())
             if revenue.get((day, country)) != expected.get((day, country))]  # fmt: skip
    books.hold(not wrong, f"Days and countries whose revenue is not what was sold: {_named(wrong)}.")


def _differences(found: Mapping[Any, int], expected: Mapping[Any, int]) -> list[Any]:
    """Where two columns do not agree; what is missing counts as zero."""
    return sorted(key for key in found.keys() | expected.keys() if found.get(key, 0) != expected.get(key, 0))


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return f"{', '.join(keys[:_MOST_NAMED])}{more}"


def _pounds(pence: int) -> str:
    return f"{pence / 100:.2f} GBP"

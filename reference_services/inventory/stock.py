"""The stock book: how many pieces of each article are free, every movement of them, and who holds what.

Articles lie in different places, so each line of an order is held in a transaction of its own: no order ever locks
the articles of another. The price is that an order may turn out impossible with half of its lines held. Then *this
service* gives them back, before it answers: the **local compensation**. Nobody outside sees it. (The saga's global
compensation is `release`: it comes later, by a command, because some *other* service has refused.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reference_services.sql import Schema
from reference_services.tables import Book, tables_at

_SCHEMA = Schema(final=("movement",), tables=(
    """CREATE TABLE IF NOT EXISTS stock (
    article TEXT PRIMARY KEY,
    free INTEGER NOT NULL CHECK (free >= 0)
) STRICT""",
    """CREATE TABLE IF NOT EXISTS reservation (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('holding', 'held', 'refused', 'released'))
) STRICT""",
    """CREATE INDEX IF NOT EXISTS reservation_by_order ON reservation (order_id)""",
    """CREATE TABLE IF NOT EXISTS movement (
    id INTEGER PRIMARY KEY,
    article TEXT NOT NULL REFERENCES stock (article),
    kind TEXT NOT NULL CHECK (kind IN ('delivered', 'held', 'given back', 'released')),
    pieces INTEGER NOT NULL CHECK (pieces >= 0),
    reservation TEXT REFERENCES reservation (key),
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    UNIQUE (reservation, article, kind)
) STRICT""",
))  # fmt: skip
State = Literal["holding", "held", "refused", "released"]
_MOVE = "INSERT INTO movement (article, kind, pieces, reservation) VALUES (?, ?, ?, ?)"
_HELD = "SELECT article, pieces FROM movement WHERE reservation = ? AND kind = 'held'"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What became of one call to `reserve`."""

    key: str
    state: State


class Stock:
    """The stock book, in SQLite or PostgreSQL. Its methods block; any number of threads and processes may call
    them.

    `opening` says how many pieces of an article there are when it is asked for the first time.
    """

    def __init__(self, place: Path | str, opening: Callable[[str], int]) -> None:
        self._tables, self._opening = tables_at(place, _SCHEMA), opening

    def deliver(self, pieces: Mapping[str, int]) -> None:
        """Put the first pieces of these articles into stock; articles that are known already stay as they are."""
        with self._tables.opened() as book, book.transaction():
            for article, count in pieces.items():
                _deliver(book, article, count)

    def reserve(self, key: str, order_id: str, pieces: Mapping[str, int]) -> Reservation:
        """Hold all of these pieces or none. The same key is the same reservation, also after a crash in between."""
        with self._tables.opened() as book:
            if self._hold_all(book, key, order_id, pieces):
                book.execute("UPDATE reservation SET state = 'held' WHERE key = ? AND state = 'holding'", (key,))
            else:
                _give_back(book, key)
            return Reservation(key, _state(book, key))

    def find(self, key: str) -> Reservation | None:
        """The reservation of this key, if anybody ever asked for it."""
        with self._tables.opened() as book:
            known = book.execute("SELECT 1 FROM reservation WHERE key = ?", (key,)).fetchone()
            return Reservation(key, _state(book, key)) if known else None

    def release(self, order_id: str) -> int:
        """The global compensation: free all that is held for the order; returns how many pieces that was."""
        with self._tables.opened() as book, book.transaction():
            unfinished = "SELECT key FROM reservation WHERE order_id = ? AND state IN ('holding', 'held')"
            keys = [key for (key,) in book.execute(unfinished, (order_id,)).fetchall()]
            return sum(_free(book, key, state="released", kind="released") for key in keys)

    def _hold_all(self, book: Book, key: str, order_id: str, pieces: Mapping[str, int]) -> bool:
        book.flush(at_once=False)  # what follows these commits takes them to the disk
        book.execute("INSERT INTO reservation VALUES (?, ?, 'holding') ON CONFLICT DO NOTHING", (key, order_id))
        enough = all(self._hold(book, key, article, count) for article, count in sorted(pieces.items()))
        book.flush(at_once=True)
        return enough

    def _hold(self, book: Book, key: str, article: str, count: int) -> bool:
        """Hold one line; False if there are not enough pieces."""
        with book.transaction():
            if _state(book, key) != "holding" or _holds(book, key, article):
                return True  # somebody was here before us: an earlier attempt, or the undo
            _deliver(book, article, self._opening(article))
            taken = "UPDATE stock SET free = free - ? WHERE article = ? AND free >= ?"
            if not book.execute(taken, (count, article, count)).rowcount:
                return False
            book.execute(_MOVE, (article, "held", count, key))
            return True

    def close(self) -> None:
        """Let go of it."""
        self._tables.close()


def seed_stock(path: Path, pieces: Mapping[str, int]) -> None:
    """Put these articles into the stock book at `path`, and no others ever."""
    Stock(path, opening=lambda article: 0).deliver(pieces)


def _give_back(book: Book, key: str) -> None:
    """The local compensation: free the lines that this reservation holds already."""
    with book.transaction():
        if _state(book, key) == "holding":
            _free(book, key, state="refused", kind="given back")


def _free(book: Book, key: str, *, state: State, kind: str) -> int:
    lines = book.execute(_HELD, (key,)).fetchall()
    for article, count in lines:
        book.execute("UPDATE stock SET free = free + ? WHERE article = ?", (count, article))
        book.execute(_MOVE, (article, kind, count, key))
    book.execute("UPDATE reservation SET state = ? WHERE key = ?", (state, key))
    return sum(count for _, count in lines)


def _deliver(book: Book, article: str, count: int) -> None:
    added = book.execute("INSERT INTO stock VALUES (?, ?) ON CONFLICT DO NOTHING", (article, count)).rowcount
    if added:
        book.execute(_MOVE, (article, "delivered", count, None))


def _state(book: Book, key: str) -> State:
    state: State = book.execute("SELECT state FROM reservation WHERE key = ?", (key,)).fetchone()[0]
    return state


def _holds(book: Book, key: str, article: str) -> bool:
    return book.execute(f"{_HELD} AND article = ?", (key, article)).fetchone() is not None

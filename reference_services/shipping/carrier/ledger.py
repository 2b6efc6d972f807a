"""The carriers' own ledger: one booking for each idempotency key, however often it is asked for."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reference_services.shipping.carrier.fate import Fate, Outcome, fate_of

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS booking (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    country TEXT NOT NULL,
    carrier TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('delivered', 'address_not_served', 'damaged_in_transit')),
    number INTEGER NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS failed_try (key TEXT PRIMARY KEY, tries INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be carried."""

    order_id: str
    country: str


@dataclass(frozen=True, slots=True)
class Booking:
    """The carrier's definite answer."""

    carrier: str
    outcome: Outcome
    tracking: str


class CarrierUnavailable(Exception):
    """No answer for the moment: try again, under the same key."""


class KeyTaken(Exception):
    """This idempotency key belongs to another parcel."""


class CarrierLedger:
    """Bookings in a SQLite file. Its methods block; any number of threads may call them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._preparing = threading.Lock()

    def book(self, key: str, parcel: Parcel) -> Booking:
        """Book the parcel, or say again what became of it; raises CarrierUnavailable or KeyTaken."""
        fate = fate_of(parcel.order_id)
        with self._open() as ledger, ledger:
            ledger.execute("BEGIN IMMEDIATE")
            failing = _read(ledger, key, parcel) is None and _failed_tries(ledger, key) < fate.failing_tries
            if failing:
                count = "INSERT INTO failed_try VALUES (?, 1) ON CONFLICT DO UPDATE SET tries = tries + 1"
                ledger.execute(count, (key,))
            else:
                _write(ledger, key, parcel, fate)
            booking = _read(ledger, key, parcel)
        if booking is None:
            raise CarrierUnavailable
        return booking

    def find(self, key: str) -> Booking | None:
        """What became of the booking under this key; None if there never was one."""
        with self._open() as ledger:
            return _read(ledger, key)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as ledger:
            with self._preparing:  # two threads must not both be first
                ledger.executescript(SCHEMA)
            yield ledger


def _read(ledger: sqlite3.Connection, key: str, parcel: Parcel | None = None) -> Booking | None:
    found = ledger.execute("SELECT * FROM booking WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    _, order_id, country, carrier, outcome, number = found
    if parcel and parcel != Parcel(order_id, country):
        raise KeyTaken
    return Booking(carrier, outcome, tracking=f"{carrier}-{number:06}")


def _write(ledger: sqlite3.Connection, key: str, parcel: Parcel, fate: Fate) -> None:
    ledger.execute(
        "INSERT INTO booking SELECT ?, ?, ?, ?, ?, (SELECT count(*) + 1 FROM booking) ON CONFLICT (key) DO NOTHING",
        (key, parcel.order_id, parcel.country, fate.carrier, fate.outcome),
    )


def _failed_tries(ledger: sqlite3.Connection, key: str) -> int:
    found = ledger.execute("SELECT tries FROM failed_try WHERE key = ?", (key,)).fetchone()
    return int(found[0]) if found else 0

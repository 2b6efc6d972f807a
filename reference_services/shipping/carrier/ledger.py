"""The carriers' own ledger: one booking for each idempotency key, however often it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reference_services.shipping.carrier.fate import Fate, Outcome, fate_of
from reference_services.sql import Schema
from reference_services.tables import Book, tables_at

_SCHEMA = Schema((
    """CREATE TABLE IF NOT EXISTS booking (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    country TEXT NOT NULL,
    carrier TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('delivered', 'address_not_served', 'damaged_in_transit')),
    number INTEGER NOT NULL UNIQUE
) STRICT""",
    """CREATE TABLE IF NOT EXISTS failed_try (key TEXT PRIMARY KEY, tries INTEGER NOT NULL) STRICT""",
))  # fmt: skip


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
    """Bookings, in SQLite or PostgreSQL. Its methods block; any number of threads may call them."""

    def __init__(self, place: Path | str) -> None:
        self._tables = tables_at(place, _SCHEMA)

    def book(self, key: str, parcel: Parcel) -> Booking:
        """Book the parcel, or say again what became of it; raises CarrierUnavailable or KeyTaken."""
        fate = fate_of(parcel.order_id)
        with self._tables.opened() as ledger, ledger.transaction():
            failing = _read(ledger, key, parcel) is None and _failed_tries(ledger, key) < fate.failing_tries
            if failing:
                count = (
                    "INSERT INTO failed_try VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET tries = failed_try.tries + 1"
                )
                ledger.execute(count, (key,))
            else:
                _write(ledger, key, parcel, fate)
            booking = _read(ledger, key, parcel)
        if booking is None:
            raise CarrierUnavailable
        return booking

    def find(self, key: str) -> Booking | None:
        """What became of the booking under this key; None if there never was one."""
        with self._tables.opened() as ledger:
            return _read(ledger, key)

    def close(self) -> None:
        """Let go of it."""
        self._tables.close()


def _read(ledger: Book, key: str, parcel: Parcel | None = None) -> Booking | None:
    found = ledger.execute("SELECT * FROM booking WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    _, order_id, country, carrier, outcome, number = found
    if parcel and parcel != Parcel(order_id, country):
        raise KeyTaken
    return Booking(carrier, outcome, tracking=f"{carrier}-{number:06}")


def _write(ledger: Book, key: str, parcel: Parcel, fate: Fate) -> None:
    ledger.execute(
        "INSERT INTO booking SELECT ?, ?, ?, ?, ?, (SELECT count(*) + 1 FROM booking) ON CONFLICT (key) DO NOTHING",
        (key, parcel.order_id, parcel.country, fate.carrier, fate.outcome),
    )


def _failed_tries(ledger: Book, key: str) -> int:
    found = ledger.execute("SELECT tries FROM failed_try WHERE key = ?", (key,)).fetchone()
    return int(found[0]) if found else 0

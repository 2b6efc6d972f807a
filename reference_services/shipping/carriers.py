"""How the shipping service reaches the carriers: one small port, two adapters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import httpx

from reference_services.shipping.carrier.fate import fate_of
from reference_services.shipping.carrier.ledger import Booking, CarrierLedger, Parcel

TIMEOUT = httpx.Timeout(10, connect=3)


@dataclass(frozen=True, slots=True)
class Booked:
    """The carrier has the parcel."""

    carrier: str
    tracking: str


@dataclass(frozen=True, slots=True)
class NotCarried:
    """The carrier's definite no."""

    code: str


class CarrierTrouble(Exception):
    """No definite answer: the booking may or may not have been made."""


class Carrier(Protocol):
    """Books parcels. `key` makes a repeated booking the same booking."""

    async def book(self, key: str, order_id: str, country: str) -> Booked | NotCarried:
        """Book a parcel; raises CarrierTrouble where the answer is not definite."""
        ...

    async def find(self, key: str) -> Booked | NotCarried | None:
        """What became of the booking under this key; None if there never was one. Raises CarrierTrouble."""
        ...


class HttpCarrier:
    """The carriers in a process of their own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: httpx.AsyncClient | None = None

    async def book(self, key: str, order_id: str, country: str) -> Booked | NotCarried:
        answer = await self._ask("PUT", key, {"order_id": order_id, "country": country})
        if answer is None:
            raise CarrierTrouble("The carrier answered a booking with 404.")
        return answer

    async def find(self, key: str) -> Booked | NotCarried | None:
        return await self._ask("GET", key)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, method: str, key: str, body: dict[str, str] | None = None) -> Booked | NotCarried | None:
        if self._client is None:  # made here, not at import: it belongs to the event loop that uses it
            self._client = httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT)
        try:
            response = await self._client.request(method, f"/bookings/{quote(key, safe='')}", json=body)
            return _read(response)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise CarrierTrouble(f"The carrier gives no answer ({type(error).__name__}).") from None


def _read(response: httpx.Response) -> Booked | NotCarried | None:
    match response.status_code:
        case 200:
            booking = response.json()
            return Booked(str(booking["carrier"]), str(booking["tracking"]))
        case 422:
            return NotCarried(str(response.json()["code"]))
        case 404:
            return None
        case status:
            raise CarrierTrouble(f"The carrier answered with {status}.")


class LocalCarrier:
    """The carriers in this very process, for the demo that needs nothing else."""

    def __init__(self, ledger: CarrierLedger) -> None:
        self._ledger = ledger

    async def book(self, key: str, order_id: str, country: str) -> Booked | NotCarried:
        await asyncio.sleep(fate_of(order_id).seconds)
        return _outcome(await asyncio.to_thread(self._ledger.book, key, Parcel(order_id, country)))

    async def find(self, key: str) -> Booked | NotCarried | None:
        booking = await asyncio.to_thread(self._ledger.find, key)
        return _outcome(booking) if booking else None


def _outcome(booking: Booking) -> Booked | NotCarried:
    if booking.outcome == "delivered":
        return Booked(booking.carrier, booking.tracking)
    return NotCarried(booking.outcome)

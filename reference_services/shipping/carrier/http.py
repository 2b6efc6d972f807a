"""The carriers' HTTP interface: `PUT /bookings/{key}` to book, as often as you like; `GET` to ask what became of it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from reference_services.shipping.carrier.fate import fate_of
from reference_services.shipping.carrier.ledger import Booking, CarrierLedger, CarrierUnavailable, KeyTaken, Parcel


class ParcelBody(BaseModel):
    """What is to be carried, and where to."""

    order_id: Annotated[str, Field(min_length=1, max_length=100)]
    country: Annotated[str, Field(min_length=1, max_length=100)]


def carrier_http(ledger: CarrierLedger) -> FastAPI:
    """The application: 200 and the booking; 422 refused for good; 503 not now; 409 the key is another parcel's."""
    http = FastAPI(title="Carriers", openapi_url=None)

    @http.put("/bookings/{key:path}")
    async def book(key: str, body: ParcelBody) -> JSONResponse:
        await asyncio.sleep(fate_of(body.order_id).seconds)
        try:
            return _answer(await asyncio.to_thread(ledger.book, key, Parcel(body.order_id, body.country)))
        except CarrierUnavailable:
            return _problem(503, "not_now", "The carrier is out of reach for the moment.")
        except KeyTaken:
            return _problem(409, "key_taken", "This key belongs to another parcel.")

    @http.get("/bookings/{key:path}")
    async def find(key: str) -> JSONResponse:
        booking = await asyncio.to_thread(ledger.find, key)
        return _answer(booking) if booking else _problem(404, "unknown", "Nothing was ever booked under this key.")

    @http.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    return http


def _answer(booking: Booking) -> JSONResponse:
    if booking.outcome != "delivered":
        return _problem(422, booking.outcome, f"{booking.carrier} does not deliver this parcel.")
    return JSONResponse({"carrier": booking.carrier, "tracking": booking.tracking})


def _problem(status: int, code: str, title: str) -> JSONResponse:
    """RFC 9457; `code` is for programs."""
    content = {"title": title, "status": status, "code": code}
    return JSONResponse(content, status, media_type="application/problem+json")

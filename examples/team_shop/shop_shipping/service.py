"""`choros run shop_shipping.service --role service:shipping`, and `--role subscriber:shipping`."""

import os
from collections.abc import AsyncIterator

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from choros import App, Call, Refused, Service
from shop_contracts import BookParcel, OrderSent, ParcelBooked
from shop_shipping.models import Parcel

shipping = Service("shipping")


@shipping.lifespan
async def carrier() -> AsyncIterator[httpx.AsyncClient]:
    """One client for each process, open as long as it runs."""
    async with httpx.AsyncClient(base_url=os.environ.get("CARRIER_URL", "http://127.0.0.1:8001"), timeout=10) as client:
        yield client


@shipping.provider(BookParcel)
async def book_parcel(command: BookParcel, call: Call, http: httpx.AsyncClient) -> ParcelBooked:
    """The carrier does once what it is asked for under one key, however often that is."""
    answer = await http.put(f"/parcels/{call.key}", json={"address": command.address})
    if answer.status_code == 422:
        raise Refused("address_not_served")
    answer.raise_for_status()  # the saga tries again
    return ParcelBooked(parcel_id=answer.json()["parcel_id"])


@shipping.on(OrderSent)
async def note(fact: OrderSent, call: Call, session: AsyncSession) -> None:
    """Nobody commands this. Whose it is was said to the front, and came along."""
    session.add(Parcel(parcel_id=fact.parcel_id, order_id=fact.order_id, tenant=call.headers.get("tenant", "")))


app = App("team-shop", services=[shipping])

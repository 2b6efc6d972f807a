"""`uvicorn carrier.app:carrier`: books a parcel once for each key."""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Wanted(BaseModel):
    """Where to."""

    address: str


carrier = FastAPI(title="A carrier")
booked: dict[str, str] = {}


@carrier.put("/parcels/{key:path}")
async def book(key: str, wanted: Wanted) -> dict[str, str]:
    """The same key is the same parcel."""
    if wanted.address == "the Moon":
        raise HTTPException(422, "We do not go there.")
    return {"parcel_id": booked.setdefault(key, f"parcel-{len(booked) + 1}")}

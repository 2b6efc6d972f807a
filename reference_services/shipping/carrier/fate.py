"""What will become of a parcel. It depends on the order id alone, so that every run tells the same stories."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["delivered", "address_not_served", "damaged_in_transit"]


@dataclass(frozen=True, slots=True)
class Fate:
    """How a carrier will treat one order."""

    carrier: str
    outcome: Outcome
    failing_tries: int
    """How often booking fails for the moment before the carrier gives its answer."""
    seconds: float
    """How long it takes over each answer."""


def fate_of(order_id: str) -> Fate:
    """The fate of this order's parcel."""
    carrier = _carrier(_draw("carrier", order_id))
    outcome: Outcome = "delivered"
    if carrier == "storm-express":
        outcome = "damaged_in_transit"  # it damages whatever it carries
    elif _draw("address", order_id) < 20:
        outcome = "address_not_served"
    failing_tries = 1 + _draw("tries", order_id) % 2 if _draw("trouble", order_id) < 40 else 0
    seconds = 0.4 if _draw("pace", order_id) < 20 else 0.0
    return Fate(carrier, outcome, failing_tries, seconds)


def _carrier(draw: int) -> str:
    if draw < 30:
        return "storm-express"
    return "royal-dispatch" if draw < 600 else "penny-parcels"


def _draw(what: str, order_id: str) -> int:
    """0 to 999."""
    return zlib.crc32(f"{what}/{order_id}".encode()) % 1000

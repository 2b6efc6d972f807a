"""What the demo asks of a running shop, whether it is one process or ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reference_services.contracts import PlaceOrder


@dataclass(frozen=True, slots=True)
class Placed:
    """How an order ended."""

    order_id: str
    saga_id: str
    status: str
    reason: str = ""
    """Why it was undone."""

    @property
    def outcome(self) -> str:
        """Status and reason in one word group."""
        return f"{self.status} ({self.reason})" if self.reason else self.status


class Shop(Protocol):
    """A shop that is open for orders."""

    async def place(self, order: PlaceOrder) -> Placed:
        """Place an order and wait until it has ended."""
        ...

    async def timeline(self, saga_id: str) -> Sequence[str]:
        """What happened to an order, as lines."""
        ...

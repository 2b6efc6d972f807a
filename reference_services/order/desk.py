"""The port between the front door and the sagas: place an order, and see how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from reference_services.contracts import PlaceOrder


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far one step of the saga is."""

    name: str
    progress: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an order is."""

    saga_id: str
    status: str
    reason: str = ""
    """The code of the failure, where the order is being undone or is undone."""
    steps: tuple[StepProgress, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more."""
        return self.status in ("completed", "compensated")


class OrderDesk(Protocol):
    """Where orders are placed. Everything raises Unreachable where a server does not answer."""

    async def place(self, order: PlaceOrder, *, traceparent: str = "", tracestate: str = "") -> str:
        """Start the order's saga, as part of this trace, and return its id at once; raises StartConflict if the id is
        another order's."""
        ...

    async def wait(self, saga_id: str, seconds: float) -> None:
        """Wait until the saga has ended or is parked, for so long at most."""
        ...

    async def progress(self, saga_id: str) -> Progress:
        """How far the saga is; raises SagaNotFound."""
        ...

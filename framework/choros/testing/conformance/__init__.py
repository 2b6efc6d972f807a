"""What every adapter of a port must do, as tests that it inherits; they need pytest and pytest-asyncio.

For readable failures: `pytest.register_assert_rewrite("choros.testing.conformance")`, before anything imports it.
"""

from choros.testing.conformance.attendance import AttendanceConformance
from choros.testing.conformance.barrier import BarrierConformance
from choros.testing.conformance.fact_log import FactLogConformance
from choros.testing.conformance.giving_back import GivingBackConformance
from choros.testing.conformance.inspection import LookingConformance
from choros.testing.conformance.replicas import ReplicasConformance
from choros.testing.conformance.store import StoreConformance
from choros.testing.conformance.store_entries import BytesConformance
from choros.testing.conformance.transport import TransportConformance

__all__ = [
    "AttendanceConformance", "BarrierConformance", "BytesConformance", "FactLogConformance",
    "GivingBackConformance", "LookingConformance", "ReplicasConformance", "StoreConformance", "TransportConformance",
]  # fmt: skip

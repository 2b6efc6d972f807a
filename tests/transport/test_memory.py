"""The memory adapter passes the suite that defines a transport."""

from __future__ import annotations

import pytest

from choros.envelope import Wire
from choros.testing.transport import TransportConformance
from choros.transport.memory import MemoryBroker, MemoryTransport


class TestMemory(TransportConformance):
    """Every test of the suite, on a broker of its own."""

    @pytest.fixture(autouse=True)
    def _broker(self) -> None:
        self.broker = MemoryBroker()

    def open(self, namespace: str) -> MemoryTransport:
        return MemoryTransport(self.broker, namespace, publish_timeout=1)

    async def publish_raw(self, exchange: str, key: str, wire: Wire) -> None:
        self.broker.publish(exchange, key, wire)

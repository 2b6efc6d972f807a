"""A broker in memory, for one process: a product with the real semantics, and with faults on request."""

from choros.transport.memory.broker import MemoryBroker
from choros.transport.memory.transport import MemoryTransport

__all__ = ["MemoryBroker", "MemoryTransport"]

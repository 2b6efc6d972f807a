"""A broker in memory, for one process: a product with the semantics of the real one, and faults on request."""

from choros.transport.memory.broker import MemoryBroker
from choros.transport.memory.transport import MemoryTransport

__all__ = ["MemoryBroker", "MemoryTransport"]

"""From an address to the transport it stands for, which is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from choros.errors import UsageError
from choros.transport.inspection import LookingTransport

if TYPE_CHECKING:
    from choros.transport.memory import MemoryBroker

_memory_brokers: dict[str, MemoryBroker] = {}


def open_transport(url: str, namespace: str, name: str) -> LookingTransport:
    """The transport for `memory://NAME`, `amqp://...` or `amqps://...` (of a cluster: `...@one:5672,two:5672/vhost`),
    not yet connected.

    `name` is how the broker shows the connections. All who open the same `memory://NAME` in this process
    share one broker; `memory://` alone is a new one each time. Raises UsageError for any other address.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from choros.transport.memory import MemoryBroker, MemoryTransport

        broker = _memory_brokers.setdefault(rest, MemoryBroker()) if rest else MemoryBroker()
        return MemoryTransport(broker, namespace)
    if scheme in ("amqp", "amqps"):
        from choros.transport.rabbitmq.transport import RabbitMQTransport

        return RabbitMQTransport(url, namespace, name)
    raise UsageError(
        "The broker's address has no scheme that choros knows.",
        "memory://, or amqp://user:password@host:5672/vhost (amqps:// for TLS)",
    )

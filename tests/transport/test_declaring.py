"""Somebody deletes a queue while it is declared: then it is declared again, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from choros.errors import BrokerUnreachable
from choros.transport.rabbitmq.declarations import Declarer, Unbound
from choros.transport.rabbitmq.transport import RabbitMQTransport
from choros.transport.topology import Binding, Exchange, Queue, Topology

WHOLE = Topology("shop", exchanges=(Exchange("x", "direct"),), queues=(Queue("q"),), bindings=(Binding("q", "x", "q"),))


BOUND = WHOLE.bindings[0].destination, WHOLE.bindings[0].source, WHOLE.bindings[0].key


class Broker:
    """As a connection, and as each of its channels: loses a queue before it is bound, so many times."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.declared: list[str] = []
        self.bound: list[tuple[str, ...]] = []

    async def channel(self, **_: Any) -> Broker:
        return self

    async def close(self) -> None: ...

    async def exchange_declare(self, name: str, **_: Any) -> None: ...

    async def queue_declare(self, name: str, **_: Any) -> None:
        self.declared.append(name)

    async def queue_bind(self, *ends: str, **_: Any) -> None:
        if self.losses:
            self.losses -= 1
            raise ChannelNotFoundEntity("NOT_FOUND - no queue")
        self.bound.append(ends)


async def test_what_is_deleted_before_it_is_bound_is_declared_again() -> None:
    broker: Any = Broker(losses=2)
    await Declarer("shop").declare(broker, WHOLE)
    assert (broker.declared, broker.bound) == (["q"] * 3, [BOUND])


async def test_what_is_never_there_is_said() -> None:
    broker: Any = Broker(losses=1000)
    with pytest.raises(Unbound, match="one of them does not exist"):
        await Declarer("shop").declare(broker, WHOLE)


async def test_a_connection_that_was_lost_is_not_one_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = RabbitMQTransport("amqp://guest:guest@broker.example:5672/")
    with pytest.raises(BrokerUnreachable, match="connect"):
        await transport.declare(WHOLE)
    monkeypatch.setattr(transport, "_begun", True)
    with pytest.raises(BrokerUnreachable, match="is lost"):
        await transport.declare(WHOLE)
    await transport.close()

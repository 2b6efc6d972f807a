"""What tests on frames need: the RabbitMQ adapter on a pipe to a simulated broker."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import TypeVar

from choros.transport.rabbitmq import RabbitMQTransport
from choros_verify.simulation.amqp.client import simulated_client
from choros_verify.simulation.amqp.server import AmqpServer
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.pipe import Pipes
from tests.simulation.broker_stage import simulated

T = TypeVar("T")


class FrameStage:
    """A broker that speaks AMQP, struck by these faults."""

    def __init__(self, *planned: Fault, seed: int = 0) -> None:
        self.broker = SimBroker(Faults(planned), chance=random.Random(seed))
        self.pipes = Pipes(self.broker.network)

    def transport(self, process: str = "one") -> RabbitMQTransport:
        """The adapter as it is in earnest, on a pipe."""
        opening = AmqpServer(self.broker, self.pipes).opening(process)
        return RabbitMQTransport("amqp://sim/", "ns", process, opening=opening)


def on_frames(main: Callable[[], Coroutine[object, object, T]], seed: int = 0) -> T:
    """What this comes to in virtual time, by the client too."""
    with simulated_client():
        return simulated(main, seed)

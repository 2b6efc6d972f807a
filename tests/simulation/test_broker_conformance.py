"""The simulated broker passes the suite that real RabbitMQ passes, as 3.10 and as 4.3, on either kind of loop."""

from __future__ import annotations

from inspect import signature

import pytest

from choros.testing.conformance.attendance import AttendanceConformance
from choros.testing.conformance.fact_log import FactLogConformance
from choros.testing.conformance.giving_back import GivingBackConformance
from choros.testing.conformance.replicas import ReplicasConformance
from choros.testing.conformance.stage import Stage
from choros.testing.conformance.transport import TransportConformance
from choros.transport.port import Transport
from choros.transport.rabbitmq import RabbitMQTransport
from choros.wire.envelope import Wire
from choros_verify.simulation.amqp.client import simulated_client
from choros_verify.simulation.amqp.server import AmqpServer
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_queue import Mode
from choros_verify.simulation.pipe import Pipes
from choros_verify.simulation.transport import SimTransport
from tests.simulation.broker_stage import MODES, simulated

SUITES = (TransportConformance, FactLogConformance, GivingBackConformance, ReplicasConformance, AttendanceConformance)
PARTS = sorted(name for suite in SUITES for name in vars(suite) if name.startswith("test_"))


class Simulated(
    TransportConformance, FactLogConformance, GivingBackConformance, ReplicasConformance, AttendanceConformance
):
    """Every test of the suite, on a broker of its own."""

    mode: Mode

    @pytest.fixture(autouse=True)
    def _broker(self) -> None:
        self.broker = SimBroker(mode=self.mode)

    def open(self, namespace: str) -> Transport:
        return SimTransport(self.broker, namespace, publish_timeout=1)

    async def publish_raw(self, exchange: str, key: str, wire: Wire) -> None:
        self.broker.publish(exchange, key, wire)


class OnFrames(Simulated):
    """The same, with the adapter and the client of real RabbitMQ on a pipe to the broker."""

    def open(self, namespace: str) -> RabbitMQTransport:
        opening = AmqpServer(self.broker, Pipes(self.broker.network)).opening("payment-1")
        return RabbitMQTransport("amqp://sim/", namespace, opening=opening)


class TestAs43(Simulated):
    """On asyncio's own loop, in the time of this machine."""

    mode = "4.3"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", [Simulated, OnFrames])
def test_the_suite_in_virtual_time(kind: type[Simulated], part: str, mode: Mode) -> None:
    async def main() -> None:
        suite = kind()
        suite.broker = SimBroker(mode=mode)
        stage, test = Stage("t", suite.open), getattr(suite, part)
        fixtures: dict[str, object] = {"stage": stage}
        for name, declared in (("transport", stage.shop), ("logged", stage.shop_with_log)):
            if name in signature(test).parameters:
                fixtures[name] = await stage.transport(declared())
        await test(**{name: fixtures[name] for name in signature(test).parameters})
        await stage.close()

    with simulated_client():
        simulated(main)

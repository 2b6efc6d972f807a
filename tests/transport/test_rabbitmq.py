"""The RabbitMQ adapter passes the suite that defines a transport."""

from __future__ import annotations

import aio_pika
import pytest

from choros.testing.conformance.attendance import AttendanceConformance
from choros.testing.conformance.fact_log import FactLogConformance
from choros.testing.conformance.giving_back import GivingBackConformance
from choros.testing.conformance.inspection import LookingConformance
from choros.testing.conformance.replicas import ReplicasConformance
from choros.testing.conformance.stage import Stage
from choros.testing.conformance.transport import TransportConformance
from choros.transport.rabbitmq import RabbitMQTransport
from choros.wire.envelope import Wire

from .brokers import delete_namespace


@pytest.mark.servers
class TestRabbitMQ(
    TransportConformance,
    FactLogConformance,
    GivingBackConformance,
    ReplicasConformance,
    LookingConformance,
    AttendanceConformance,
):
    """Every test of the suite, on a real broker."""

    @pytest.fixture(autouse=True)
    def _url(self, amqp_url: str) -> None:
        self.url = amqp_url

    def open(self, namespace: str) -> RabbitMQTransport:
        return RabbitMQTransport(self.url, namespace, "conformance")

    async def publish_raw(self, exchange: str, key: str, wire: Wire) -> None:
        connection = await aio_pika.connect(self.url)
        async with connection:
            channel = await connection.channel()
            message = aio_pika.Message(
                wire.body, headers=dict(wire.headers), content_type=wire.content_type, delivery_mode=2
            )
            await (await channel.get_exchange(exchange, ensure=False)).publish(message, key)

    @pytest.mark.long
    async def test_looking_more_often_than_rabbitmq_4_delivers(self, stage: Stage) -> None:
        self.times = 21
        await self.test_looking_shows_everything_in_order_however_often_and_takes_nothing_out(stage)

    async def clean(self, namespace: str) -> None:
        await delete_namespace(self.url, namespace)

"""Whoever cancels a task that waits for the broker is obeyed, also in the very moment in which the wait is over."""

from __future__ import annotations

import asyncio

import pytest

from choros.transport.rabbitmq import RabbitMQTransport


async def test_a_cancellation_that_meets_the_subscription_is_not_lost() -> None:
    """Lost, it would leave a participant that was told to end receiving for ever."""
    transport = RabbitMQTransport("amqp://127.0.0.1:1/", "shop", connect_timeout=30)
    consuming = asyncio.create_task(transport.consume("shop.payment", 1))
    await asyncio.sleep(0)
    (consumer,) = transport._consumers
    consumer.settled.set()
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    await transport.close()
